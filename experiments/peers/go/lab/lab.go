// Package lab has what the Go servers of the lab do alike: the command line, the two lines on stdout, the listener,
// the counts and the work of /work/N.
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
	MaxHead   = 8192        // bytes of a request head; a longer one is answered 431
	StopTime  = time.Second // how long what is in flight may take after SIGTERM
	maxWorkUs = 100_000
	workPath  = "/work/"

	clockThreadCPUTimeID = 3 // CLOCK_THREAD_CPUTIME_ID of <time.h>
)

// The errors that a server meets; syscall knows their numbers and texts, but not their names.
var errnoNames = map[syscall.Errno]string{
	syscall.EMFILE:        "EMFILE",
	syscall.ENFILE:        "ENFILE",
	syscall.ENOBUFS:       "ENOBUFS",
	syscall.ENOMEM:        "ENOMEM",
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

// Counts is what the last line tells. Goroutines run on several threads, so every count is shared between them.
type Counts struct {
	Accepted, Served atomic.Int64

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

// Stopped prints the last line.
func (c *Counts) Stopped() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	names, err := json.Marshal(c.errors)
	if err != nil || c.errors == nil {
		names = []byte("{}") // of no errors; a map of numbers by strings never fails
	}
	fmt.Printf("{\"event\":\"stopped\",\"accepted\":%d,\"served\":%d,\"errors\":%s}\n",
		c.Accepted.Load(), c.Served.Load(), names)
}

// Start reads the command line, listens, and prints the ready line under the name of the experiment. It returns a
// channel that is closed by the first SIGTERM or SIGINT; the second one ends the process.
//
// The backlog is what the kernel allows, net.core.somaxconn. Accepted connections have TCP_NODELAY, as always in Go.
// The keep-alive probes that Go switches on too are left out: more system calls for each connection, and no use here.
func Start(experiment string) (net.Listener, <-chan struct{}) {
	host := flag.String("host", "127.0.0.1", "the IPv4 address to listen on")
	port := flag.Int("port", 8080, "the port, 0: the kernel chooses")
	flag.Parse()
	address := fmt.Sprintf("%s:%d", *host, *port)
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp4", address)
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno) // 0 where the reason is none of the kernel's
		fmt.Fprintf(os.Stderr, "Cannot bind %s: %s (%d), choose another --port (0: any) or --host\n",
			address, ErrnoName(err), int(errno))
		os.Exit(1)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	stop := make(chan struct{})
	go func() {
		<-signals
		close(stop)
		<-signals
		os.Exit(1)
	}()
	bound := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("{\"event\":\"ready\",\"experiment\":%q,\"port\":%d,\"pid\":%d}\n", experiment, bound, os.Getpid())
	fmt.Fprintf(os.Stderr, "Listening. Try: curl -i http://%s:%d/\n", *host, bound)
	return listener, stop
}

// ParseTarget tells whether there is something at the target, and the microseconds of CPU to burn before the answer.
func ParseTarget(target string) (workUs int, found bool) {
	if target == "/" {
		return 0, true
	}
	digits := strings.TrimPrefix(target, workPath)
	if len(digits) == len(target) || len(digits) > 6 {
		return 0, false
	}
	us, err := strconv.ParseUint(digits, 10, 32) // takes no sign, and no empty text
	return int(us), err == nil && us <= maxWorkUs
}

// Burn burns CPU time of the thread that runs this goroutine, and keeps the goroutine on it so long. Every 10 ms the
// scheduler preempts it for others that wait.
func Burn(us int) {
	if us == 0 {
		return
	}
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
