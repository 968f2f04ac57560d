// go-net: a goroutine for each connection, which reads and writes as if it alone were there.
package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"c10k-lab/peers/go/lab"
)

const (
	inboxSize   = 16384                  // bytes of one read: more than MaxHead, so that a head over it is seen as such
	lingerTime  = time.Second            // how long who was answered for the last time may go on sending
	graceTime   = 10 * time.Millisecond  // after SIGTERM, for what has arrived but was not read yet
	acceptPause = 100 * time.Millisecond // before the next try where no descriptor is left
)

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak ----

var (
	answers = map[int]string{
		200: "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + lab.Hello,
		400: "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		404: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		405: "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n",
		431: "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	}
	lineEnd   = []byte("\r\n")
	blankLine = []byte("\r\n\r\n")
	space     = []byte(" ")
	colon     = []byte(":")
	isToken   = tokenTable() // the bytes of a method or a field name (RFC 9110, section 5.6.2)
)

func tokenTable() (table [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[c] = true
	}
	return table
}

// request is the status to answer, the CPU to burn before, and whether the connection stays.
type request struct {
	status, workUs int
	keepAlive      bool
}

// parseHead parses the head that input starts with and returns its length: 0 as long as its end is missing, and all of
// input where the request is refused, since the connection will close.
func parseHead(input []byte) (request, int) {
	end := bytes.Index(input, blankLine)
	switch {
	case end < 0 && len(input) < lab.MaxHead:
		return request{}, 0
	case end < 0 || end+len(blankLine) > lab.MaxHead:
		return request{status: 431}, len(input)
	}
	line, fields, _ := bytes.Cut(input[:end+len(lineEnd)], lineEnd)
	req, valid := parseRequestLine(line)
	if !valid || !parseFields(fields, &req) {
		return request{status: 400}, len(input)
	}
	return req, end + len(blankLine)
}

func parseRequestLine(line []byte) (req request, valid bool) {
	if string(line) == "GET / HTTP/1.1" {
		return request{status: 200, keepAlive: true}, true
	}
	method, rest, _ := bytes.Cut(line, space)
	target, version, _ := bytes.Cut(rest, space)
	if !all(method, isTokenByte) || !all(target, isVisible) {
		return req, false
	}
	if req.keepAlive = string(version) == "HTTP/1.1"; !req.keepAlive && string(version) != "HTTP/1.0" {
		return req, false
	}
	workUs, found := lab.ParseTarget(string(target))
	switch {
	case string(method) != "GET":
		req.status = 405
	case !found:
		req.status = 404
	default:
		req.status, req.workUs = 200, workUs
	}
	return req, true
}

// parseFields walks the header fields, each with its line end; false if one is malformed. Only what decides the
// connection is read: bodies never are, so behind a request that has one nothing can follow.
func parseFields(fields []byte, req *request) bool {
	for len(fields) > 0 {
		var line []byte
		line, fields, _ = bytes.Cut(fields, lineEnd)
		name, value, found := bytes.Cut(line, colon)
		if !found || !all(name, isTokenByte) {
			return false
		}
		for _, c := range value {
			if c < ' ' && c != '\t' {
				return false
			}
		}
		if closes(name, value) {
			req.keepAlive = false
		}
	}
	return true
}

func closes(name, value []byte) bool {
	switch {
	case isNamed(name, "connection"):
		for _, option := range bytes.Split(value, []byte(",")) {
			if isNamed(bytes.TrimSpace(option), "close") {
				return true
			}
		}
		return false
	case isNamed(name, "content-length"):
		return string(bytes.TrimSpace(value)) != "0"
	}
	return isNamed(name, "transfer-encoding")
}

// isNamed compares without regard to case.
func isNamed(text []byte, name string) bool {
	return len(text) == len(name) && bytes.EqualFold(text, []byte(name))
}

func isTokenByte(c byte) bool { return isToken[c] }
func isVisible(c byte) bool   { return '!' <= c && c <= '~' }

// all tells whether there are bytes, and every one passes the test.
func all(text []byte, test func(byte) bool) bool {
	for _, c := range text {
		if !test(c) {
			return false
		}
	}
	return len(text) > 0
}

// ---- Connection: a goroutine, its stack, and the buffer that it lends to the kernel while it waits ----

var (
	counts   lab.Counts
	stopping atomic.Bool
)

// serve reads, answers and writes in turn until the connection ends. Read and Write look as if they blocked a thread,
// but park the goroutine: the runtime's own epoll wakes it, and no other connection waits meanwhile. A client that does
// not read its answers is not read either, so what a connection holds is bounded by one inbox and its answers.
func serve(conn *net.TCPConn) {
	defer conn.Close() // fails only if it is closed already
	inbox := make([]byte, inboxSize)
	var outbox []byte // as large as the answers to one inbox were: 96 KiB at most, for 1024 heads of 16 bytes
	had := 0          // bytes of a head whose end has not come
	for {
		got, err := conn.Read(inbox[had:])
		if errors.Is(err, os.ErrDeadlineExceeded) && had > 0 {
			conn.SetReadDeadline(time.Time{}) // the rest may come until the process ends; fails only if it is closed
			continue
		}
		if err != nil {
			countEnd(err)
			return
		}
		var keepAlive bool
		length := had + got
		outbox, had, keepAlive = answer(outbox[:0], inbox[:length])
		if had == 0 && (!keepAlive || stopping.Load()) {
			leave(conn, outbox, inbox)
			return
		}
		if len(outbox) > 0 {
			if _, err := conn.Write(outbox); err != nil {
				countEnd(err)
				return
			}
		}
		copy(inbox, inbox[length-had:length])
	}
}

// answer appends the answers to every whole request in input, and tells how many bytes of an unfinished head are left.
func answer(outbox, input []byte) (out []byte, left int, keepAlive bool) {
	keepAlive = true
	served := int64(0)
	for len(input) > 0 && keepAlive {
		req, length := parseHead(input)
		if length == 0 {
			break
		}
		lab.Burn(req.workUs)
		outbox = append(outbox, answers[req.status]...)
		if req.status == 200 {
			served++
		} else {
			counts.Error(strconv.Itoa(req.status))
		}
		input, keepAlive = input[length:], req.keepAlive
	}
	counts.Served.Add(served)
	if !keepAlive {
		return outbox, 0, false // what stands behind the last request is not asked
	}
	return outbox, len(input), true
}

// leave gives the last answers. With input unread close(2) would send RST, and the peer might lose them: so it lingers
// until the peer closes its half.
func leave(conn *net.TCPConn, outbox, inbox []byte) {
	forget(conn)
	err := conn.SetDeadline(time.Now().Add(lingerTime))
	if err == nil {
		_, err = conn.Write(outbox)
	}
	conn.CloseWrite() // fails only where the peer is gone: the read tells
	for err == nil {
		_, err = conn.Read(inbox)
	}
	countEnd(err)
}

// countEnd counts why a connection ended, unless that was the peer's wish or that of this server.
func countEnd(err error) {
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		counts.Error(lab.ErrnoName(err))
	}
}

// ---- The architecture: go serve(conn) ----

var (
	mutex       sync.Mutex
	connections = map[*net.TCPConn]struct{}{} // those that SIGTERM has to wake
	goroutines  sync.WaitGroup
)

// accept starts a goroutine for each connection until the listener is closed.
func accept(listener net.Listener) {
	defer goroutines.Done()
	for {
		conn, err := listener.Accept() // goes on by itself after EINTR and ECONNABORTED
		switch {
		case err == nil:
			counts.Accepted.Add(1)
			goroutines.Add(1)
			go func() {
				defer goroutines.Done()
				conn := conn.(*net.TCPConn)
				remember(conn)
				defer forget(conn)
				serve(conn)
			}()
		case errors.Is(err, net.ErrClosed):
			return
		default:
			counts.Error(lab.ErrnoName(err))
			time.Sleep(acceptPause)
		}
	}
}

func remember(conn *net.TCPConn) {
	mutex.Lock()
	defer mutex.Unlock()
	connections[conn] = struct{}{}
	if stopping.Load() {
		wake(conn)
	}
}

func forget(conn *net.TCPConn) {
	mutex.Lock()
	defer mutex.Unlock()
	delete(connections, conn)
}

// wake ends the wait of a connection from which nothing comes any more.
func wake(conn *net.TCPConn) {
	conn.SetReadDeadline(time.Now().Add(graceTime)) // fails only if it is closed, and then nobody waits
}

func main() {
	listener, stop := lab.Start("go-net")
	goroutines.Add(1)
	go accept(listener)
	<-stop
	listener.Close() // fails only if it is closed already
	mutex.Lock()
	stopping.Store(true)
	for conn := range connections {
		wake(conn)
	}
	mutex.Unlock()
	ended := make(chan struct{})
	go func() {
		goroutines.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(lab.StopTime):
	}
	counts.Stopped()
}
