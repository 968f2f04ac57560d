// Package lab has what the Go servers of the lab do alike: the command line, the lines on stdout, the listener, the
// counts, the drain, and the work of /work/N.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	Hello     = "Hello World"
	MaxHead   = 8192             // bytes of a request head; a longer one is answered 431
	HeadTime  = 10 * time.Second // how long a head may take from its first byte to its last
	StopTime  = time.Second      // how long what is in flight may take after SIGTERM
	maxWorkUs = 100_000
	workPath  = "/work/"
	scheme    = "http://"

	acceptPause = 50 * time.Millisecond // before the next try where no descriptor is left
	quietTime   = 10 * time.Millisecond // after SIGTERM: two such stretches without a byte end the drain
	maxBacklog  = 4096                  // connections accepted after SIGTERM

	keepaliveIdleS     = 60     // a silent peer is probed then,
	keepaliveIntervalS = 10     // again after each of these,
	keepaliveProbes    = 6      // and given up after so many
	userTimeoutMs      = 30_000 // how long a peer may acknowledge nothing, or take nothing, until ETIMEDOUT

	tcpUserTimeout       = 18 // TCP_USER_TIMEOUT of <netinet/tcp.h>
	clockThreadCPUTimeID = 3  // CLOCK_THREAD_CPUTIME_ID of <time.h>
)

// The errors that a server meets; syscall knows their numbers and texts, but not their names.
var errnoNames = map[syscall.Errno]string{
	syscall.EMFILE:        "EMFILE",
	syscall.ENFILE:        "ENFILE",
	syscall.ENOBUFS:       "ENOBUFS",
	syscall.ENOMEM:        "ENOMEM",
	syscall.EFBIG:         "EFBIG",
	syscall.ENOSPC:        "ENOSPC",
	syscall.EPIPE:         "EPIPE",
	syscall.ECONNRESET:    "ECONNRESET",
	syscall.ETIMEDOUT:     "ETIMEDOUT",
	syscall.EACCES:        "EACCES",
	syscall.EADDRINUSE:    "EADDRINUSE",
	syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL",
}

// ErrnoName tells the name of the error number inside err, or the text of err if there is none.
func ErrnoName(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	if name, known := errnoNames[errno]; known {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}

// Counts is what the last line says. Goroutines run on several threads, so every count is shared between them.
type Counts struct {
	Accepted, Closed, Served, BytesIn, BytesOut atomic.Int64
	Pushes                                      bool // whether messages are delivered: then Delivered is told too
	Delivered                                   atomic.Int64
	InFlight                                    atomic.Int64 // connections between a request's first byte and the end of its answer

	mutex  sync.Mutex
	errors map[string]int64
}

// Error counts an HTTP status that was answered, or an error by its name.
func (c *Counts) Error(name string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.errors == nil {
		c.errors = map[string]int64{}
	}
	c.errors[name]++
}

// Status counts an answer.
func (c *Counts) Status(status int) {
	if status == 200 {
		c.Served.Add(1)
	} else {
		c.Error(strconv.Itoa(status))
	}
}

// print prints a line of counts. Where it cannot be written, as on a full disk, that is counted.
func (c *Counts) print(event, more string) {
	if _, err := os.Stdout.WriteString(c.line(event, more)); err != nil {
		c.Error(ErrnoName(err))
	}
}

func (c *Counts) line(event, more string) string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	names, err := json.Marshal(c.errors)
	if err != nil || c.errors == nil {
		names = []byte("{}") // of no errors; a map of numbers by strings never fails
	}
	if c.Pushes {
		more += fmt.Sprintf(",\"delivered\":%d", c.Delivered.Load())
	}
	return fmt.Sprintf("{\"event\":%q%s,\"accepted\":%d,\"served\":%d,\"bytes_in\":%d,\"bytes_out\":%d,\"errors\":%s}\n",
		event, more, c.Accepted.Load(), c.Served.Load(), c.BytesIn.Load(), c.BytesOut.Load(), names)
}

// Stopped prints the last line.
func (c *Counts) Stopped() { c.print("stopped", "") }

// Drain waits until nothing is in flight any more, or StopTime is over. What has come but was not read yet is not
// counted as such: so nothing may come for two stretches.
func (c *Counts) Drain() {
	until := time.Now().Add(StopTime)
	for before, quiet := int64(-1), 0; quiet < 2 && time.Now().Before(until); {
		time.Sleep(quietTime)
		if now := c.BytesIn.Load(); now == before && c.InFlight.Load() == 0 {
			quiet++
		} else {
			before, quiet = now, 0
		}
	}
}

// Start reads the command line, listens, and prints the ready line under the name of the experiment. The listener
// accepts until the first SIGTERM or SIGINT, then those whose handshake is done; Accept fails with net.ErrClosed after
// that. The second signal ends the process, and SIGUSR1 prints the counts.
func Start(experiment string, counts *Counts) *Listener {
	host := flag.String("host", "127.0.0.1", "the IPv4 address to listen on")
	port := flag.Int("port", 8080, "the port, 0: the kernel chooses")
	flag.Parse()
	address := fmt.Sprintf("%s:%d", *host, *port)
	// Accepted connections inherit the options of the listener. Go's own keep-alive would be set for each of them.
	config := net.ListenConfig{KeepAlive: -1, Control: setOptions}
	inner, err := config.Listen(context.Background(), "tcp4", address)
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno) // 0 where the reason is none of the kernel's
		fmt.Fprintf(os.Stderr, "Cannot bind %s: %s (%d), choose another --port (0: any) or --host\n",
			address, ErrnoName(err), int(errno))
		os.Exit(1)
	}
	listener := &Listener{TCPListener: inner.(*net.TCPListener), counts: counts}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	go listener.hear(signals)
	bound := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("{\"event\":\"ready\",\"experiment\":%q,\"port\":%d,\"pid\":%d}\n", experiment, bound, os.Getpid())
	try := "curl -i http://%s:%d/"
	if counts.Pushes {
		try = "new WebSocket(\"ws://%s:%d/\")"
	}
	fmt.Fprintf(os.Stderr, "Listening. Try: "+try+"\n", *host, bound)
	return listener
}

func setOptions(_, _ string, conn syscall.RawConn) error {
	var failure error
	err := conn.Control(func(fd uintptr) {
		set := func(level, option, value int) {
			if err := syscall.SetsockoptInt(int(fd), level, option, value); err != nil && failure == nil {
				failure = err
			}
		}
		set(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
		set(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepaliveIdleS)
		set(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepaliveIntervalS)
		set(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepaliveProbes)
		set(syscall.IPPROTO_TCP, tcpUserTimeout, userTimeoutMs)
	})
	if err != nil {
		return err
	}
	return failure
}

// ---- The listener ----

// Listener counts what it accepts and what accept(2) refuses, and accepts what waits before it closes. The backlog is
// what the kernel allows, net.core.somaxconn. Accepted connections have TCP_NODELAY, as always in Go.
type Listener struct {
	*net.TCPListener
	counts   *Counts
	stopping atomic.Bool
	drained  int // connections accepted since the signal
}

// Stopping tells whether a signal has asked to stop.
func (l *Listener) Stopping() bool { return l.stopping.Load() }

func (l *Listener) hear(signals <-chan os.Signal) {
	for number := range signals {
		switch {
		case number == syscall.SIGUSR1:
			open := l.counts.Accepted.Load() - l.counts.Closed.Load()
			l.counts.print("stats", fmt.Sprintf(",\"open\":%d", open))
		case l.stopping.Load():
			os.Exit(1) // the second signal does not wait
		default:
			l.stopping.Store(true)
			l.SetDeadline(time.Now()) // wakes Accept; fails only if it is closed
		}
	}
}

// Accept returns the next connection, and net.ErrClosed once it has stopped.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptTCP() // goes on by itself after EINTR and ECONNABORTED
		switch {
		case err == nil:
			l.counts.Accepted.Add(1)
			return conn, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			conn, err := l.acceptWaiting()
			if err == nil {
				l.counts.Accepted.Add(1)
				return conn, nil
			}
			l.Close() // fails only if it is closed already
			return nil, net.ErrClosed
		case errors.Is(err, net.ErrClosed):
			return nil, net.ErrClosed
		case !isPassing(err):
			l.counts.Error(ErrnoName(err)) // EMFILE, ENFILE, ENOBUFS, ENOMEM
			time.Sleep(acceptPause)
		}
	}
}

// acceptWaiting accepts one that waits, since close(2) would reset it; it fails if none does. The deadline, which has
// ended the wait of Accept, would let nobody in: so the system call is made here.
func (l *Listener) acceptWaiting() (net.Conn, error) {
	if l.drained++; l.drained > maxBacklog {
		return nil, net.ErrClosed
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failure := -1, error(nil)
	if err := raw.Control(func(listener uintptr) {
		fd, _, failure = syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	}); err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, failure
	}
	file := os.NewFile(uintptr(fd), "")
	defer file.Close() // FileConn has a duplicate of the descriptor
	return net.FileConn(file)
}

// isPassing tells errors of one connection, or of the network it comes from, which accept(2) passes on.
func isPassing(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.ECONNABORTED, syscall.ENETDOWN, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// ---- Targets and work ----

// ParseTarget tells whether there is something at a target, and the microseconds of CPU to burn before the answer.
func ParseTarget(target string) (workUs int, found bool) {
	target, _, _ = strings.Cut(target, "?")
	if len(target) > len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) { // RFC 9112, section 3.2.2
		authority, path, found := strings.Cut(target[len(scheme):], "/")
		if target = "/" + path; authority == "" && found {
			return 0, false
		}
	}
	return ParsePath(target)
}

// ParsePath does so for the path alone.
func ParsePath(path string) (workUs int, found bool) {
	if path == "/" {
		return 0, true
	}
	digits := strings.TrimPrefix(path, workPath)
	if len(digits) == len(path) || len(digits) > 6 {
		return 0, false
	}
	us, err := strconv.ParseUint(digits, 10, 32) // takes no sign, and no empty text
	return int(us), err == nil && us <= maxWorkUs
}

// burning holds one place for each thread that runs Go code. Of more goroutines that burn each would get 10 ms in turn,
// and so would the one that hears the signals: with a hundred of them it would hear after a second.
var burning = make(chan struct{}, runtime.GOMAXPROCS(0))

// Burn burns CPU time of the thread that runs this goroutine, and keeps the goroutine on it so long. Every 10 ms the
// scheduler preempts it for others that wait.
func Burn(us int) {
	if us == 0 {
		return
	}
	burning <- struct{}{}
	defer func() { <-burning }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for until := threadCPUTime() + time.Duration(us)*time.Microsecond; threadCPUTime() < until; {
	}
}

func threadCPUTime() time.Duration {
	var now syscall.Timespec
	// It fails only for a clock that the kernel does not know.
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTimeID, uintptr(unsafe.Pointer(&now)), 0)
	return time.Duration(now.Nano())
}
