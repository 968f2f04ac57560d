// go-net: a goroutine for each connection, which reads and writes as if it alone were there.
package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"c10k-lab/peers/go/lab"
)

const (
	inboxSize    = 16384       // bytes of one read: more than MaxHead, so that a head over it is seen as such
	maxKeptBytes = 64 << 20    // of all connections, partial heads and unsent answers; beyond, one is dropped
	lingerTime   = time.Second // how long a client may go on sending after the last answer was taken
)

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak ----

// answer is one answer, and the same as the last one of its connection.
type answer struct{ kept, last []byte }

var (
	answers = map[int]answer{
		400: refusal("400 Bad Request"),
		404: refusal("404 Not Found"),
		405: refusal("405 Method Not Allowed\r\nAllow: GET"),
		408: refusal("408 Request Timeout"),
		431: refusal("431 Request Header Fields Too Large"),
		505: refusal("505 HTTP Version Not Supported"),
	}
	hello = answer{
		[]byte("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + lab.Hello),
		[]byte("HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n" + lab.Hello),
	}
	root      = []byte("GET / HTTP/1.1\r\n")
	lineEnd   = []byte("\r\n")
	blankLine = []byte("\r\n\r\n")
	isToken   = tokenTable() // the bytes of a method or a field name (RFC 9110, section 5.6.2)
)

func refusal(line string) answer {
	start := "HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n"
	return answer{[]byte(start + "\r\n"), []byte(start + "Connection: close\r\n\r\n")}
}

func answerTo(status int, isLast bool) []byte {
	answer := hello
	if status != 200 {
		answer = answers[status]
	}
	if isLast {
		return answer.last
	}
	return answer.kept
}

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
	start := 0
	if bytes.HasPrefix(input, lineEnd) {
		start = len(lineEnd) // one empty line (RFC 9112, section 2.2)
	}
	end := bytes.Index(input[start:], blankLine)
	switch {
	case end < 0 && len(input) < lab.MaxHead:
		return request{}, 0
	case end < 0 || start+end+len(blankLine) > lab.MaxHead:
		return request{status: 431}, len(input)
	}
	end += start
	req, valid := parseLines(input[start : end+len(lineEnd)])
	if !valid {
		return request{status: 400}, len(input)
	}
	return req, end + len(blankLine)
}

// parseLines parses the lines of a head, each with its end.
func parseLines(lines []byte) (req request, valid bool) {
	req, at := request{status: 200, keepAlive: true}, len(root)
	if !bytes.HasPrefix(lines, root) {
		if at, valid = parseRequestLine(lines, &req); !valid {
			return req, false
		}
	}
	return req, parseFields(lines, at, &req)
}

// parseRequestLine parses any request line but the usual one, and returns where the next line starts.
func parseRequestLine(lines []byte, req *request) (next int, valid bool) {
	end := bytes.Index(lines, lineEnd)
	line := lines[:end]
	method := 0
	for method < end && isToken[line[method]] {
		method++
	}
	target := method + 1
	for target < end && line[target] > ' ' && line[target] <= '~' {
		target++
	}
	if method == 0 || target <= method+1 || target >= end || line[method] != ' ' || line[target] != ' ' {
		return 0, false
	}
	version := line[target+1:] // HTTP/1.1
	if len(version) != 8 || string(version[:5]) != "HTTP/" || !isDigit(version[5]) || version[6] != '.' ||
		!isDigit(version[7]) {
		return 0, false
	}
	workUs, found := lab.ParseTarget(string(line[method+1 : target]))
	switch {
	case version[5] != '1':
		req.status = 505
	case string(line[:method]) != "GET":
		req.status = 405
	case !found:
		req.status = 404
	default:
		req.workUs = workUs
	}
	req.keepAlive = version[5] == '1' && version[7] != '0'
	return end + len(lineEnd), true
}

// parseFields walks the header fields, each with its line end; false if one is malformed. Only what decides the
// connection is read: bodies never are, so behind a request that has one nothing can follow.
func parseFields(lines []byte, at int, req *request) bool {
	for at < len(lines) {
		name := at
		for isToken[lines[at]] { // the line end is no token, so this ends
			at++
		}
		colon := at
		if colon == name || lines[colon] != ':' {
			return false
		}
		for at++; lines[at] >= ' ' || lines[at] == '\t'; at++ {
		}
		if lines[at] != '\r' || lines[at+1] != '\n' {
			return false
		}
		switch colon - name {
		case len("connection"):
			if isNamed(lines[name:colon], "connection") && hasClose(lines[colon+1:at]) {
				req.keepAlive = false
			}
		case len("content-length"):
			if isNamed(lines[name:colon], "content-length") && !parseLength(lines[colon+1:at], req) {
				return false
			}
		case len("transfer-encoding"):
			if isNamed(lines[name:colon], "transfer-encoding") {
				req.keepAlive = false
			}
		}
		at += len(lineEnd)
	}
	return true
}

// isNamed compares a token of the same length without regard to case: bit 0x20 tells a small letter from a capital.
func isNamed(token []byte, name string) bool {
	for i := 0; i < len(name); i++ {
		if token[i]|0x20 != name[i] {
			return false
		}
	}
	return true
}

// hasClose tells whether `close` is an item of a list.
func hasClose(list []byte) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		if item = trim(item); len(item) == len("close") && isNamed(item, "close") {
			return true
		}
	}
	return false
}

// parseLength parses a Content-Length: digits and nothing else. If it is not zero there is a body, and nothing follows.
func parseLength(value []byte, req *request) bool {
	value = trim(value)
	for _, c := range value {
		if !isDigit(c) {
			return false
		}
		if c != '0' {
			req.keepAlive = false
		}
	}
	return len(value) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// trim takes spaces and tabs off both ends, and no other white space.
func trim(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	for len(text) > 0 && (text[len(text)-1] == ' ' || text[len(text)-1] == '\t') {
		text = text[:len(text)-1]
	}
	return text
}

// ---- Connection: a goroutine, its stack, and the buffer that it lends to the kernel while it waits ----

var (
	counts    lab.Counts
	listener  *lab.Listener
	keptBytes atomic.Int64
)

var errKept = errors.New("MAX_KEPT_BYTES")

// connection is a socket and what it keeps.
type connection struct {
	*net.TCPConn
	inbox    []byte
	outbox   []byte    // as large as the answers to one inbox were: 96 KiB at most, for 1024 heads of 16 bytes
	due      time.Time // when the head that has begun must be complete; zero: none has
	kept     int64     // its part of keptBytes
	inFlight bool
}

// reply is what was made of the whole requests in an inbox. The last answer is a constant, and is sent from where it
// stands if there is no other.
type reply struct {
	used             int
	last             []byte
	isLast, hasBurnt bool
}

// serve reads, answers and writes in turn until the connection ends. Read and Write look as if they blocked a thread,
// but park the goroutine: the runtime's own epoll wakes it, and no other connection waits meanwhile. A client that does
// not read its answers is not read either, so what a connection keeps is bounded by one inbox and its answers.
func (c *connection) serve() error {
	defer c.keep(0)
	defer c.setInFlight(false)
	length := 0 // bytes in the inbox: of a head whose end has not come
	for {
		got, err := c.Read(c.inbox[length:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			counts.Status(408)
			if err := c.send(answerTo(408, true)); err != nil {
				return err
			}
			return c.linger()
		}
		if err != nil {
			return err
		}
		c.setInFlight(true)
		counts.BytesIn.Add(int64(got))
		rest, isLast, err := c.answerAll(length + got)
		switch {
		case err != nil:
			return err
		case isLast:
			return c.linger()
		}
		c.setInFlight(rest > 0)
		length = rest
	}
}

// setInFlight says whether SIGTERM has to wait for it.
func (c *connection) setInFlight(inFlight bool) {
	switch {
	case inFlight && !c.inFlight:
		counts.InFlight.Add(1)
	case !inFlight && c.inFlight:
		counts.InFlight.Add(-1)
	}
	c.inFlight = inFlight
}

// answerAll answers every whole request in the inbox. It returns the bytes that are left, and whether it has answered
// for the last time.
func (c *connection) answerAll(length int) (rest int, isLast bool, err error) {
	from, isNew := 0, c.due.IsZero()
	for {
		reply := c.answer(c.inbox[from:length])
		bytes := reply.last
		if len(c.outbox) > 0 {
			c.outbox = append(c.outbox, reply.last...)
			bytes = c.outbox
			if err := c.keep(int64(length - from + len(bytes))); err != nil {
				return 0, false, err
			}
		}
		if len(bytes) > 0 {
			if err := c.send(bytes); err != nil {
				return 0, false, err
			}
			c.outbox = c.outbox[:0]
		}
		if reply.isLast {
			return 0, true, nil
		}
		from += reply.used
		isNew = isNew || reply.used > 0
		if !reply.hasBurnt {
			break
		}
	}
	rest = copy(c.inbox, c.inbox[from:length])
	if rest > 0 || !c.due.IsZero() {
		c.setDue(rest > 0, isNew)
	}
	return rest, false, c.keep(int64(rest))
}

// setDue bounds Read by when the head that has begun must be complete.
func (c *connection) setDue(hasBegun, isNew bool) {
	switch {
	case !hasBegun:
		c.due = time.Time{}
	case isNew:
		c.due = time.Now().Add(lab.HeadTime)
	}
	c.SetReadDeadline(c.due) // fails only if it is closed: Read reports it
}

// answer answers every whole request in input, up to the first that burns CPU. All answers but the last one are put
// into the outbox.
func (c *connection) answer(input []byte) (r reply) {
	for r.used < len(input) && !r.isLast && !r.hasBurnt {
		req, length := parseHead(input[r.used:])
		if length == 0 {
			break
		}
		r.used += length
		if req.workUs > 0 {
			lab.Burn(req.workUs)
			r.hasBurnt = true
		}
		r.isLast = !req.keepAlive || (r.used == len(input) && listener.Stopping())
		c.outbox = append(c.outbox, r.last...)
		r.last = answerTo(req.status, r.isLast)
		counts.Status(req.status)
	}
	return r
}

// keep counts the bytes that it keeps. It fails where all connections together would keep too many.
func (c *connection) keep(kept int64) error {
	change := kept - c.kept
	if change == 0 {
		return nil
	}
	c.kept = kept
	if all := keptBytes.Add(change); change > 0 && all > maxKeptBytes {
		return errKept
	}
	return nil
}

// send sends all of it. Where the peer takes nothing for long the kernel ends the connection.
func (c *connection) send(bytes []byte) error {
	sent, err := c.Write(bytes)
	counts.BytesOut.Add(int64(sent))
	return err
}

// linger waits for the end of a connection whose last answer the socket has taken. With input unread close(2) would send
// RST, and the peer might lose that answer: so what it still sends is thrown away until it closes its half.
func (c *connection) linger() error {
	c.CloseWrite() // fails only where the peer is gone: Read reports it
	err := c.SetReadDeadline(time.Now().Add(lingerTime))
	for err == nil {
		var got int
		got, err = c.Read(c.inbox)
		counts.BytesIn.Add(int64(got))
	}
	return err
}

// ---- The architecture: go serve() ----

// run is what a goroutine does.
func run(conn *net.TCPConn) {
	c := connection{TCPConn: conn, inbox: make([]byte, inboxSize)}
	err := c.serve()
	// Neither its end by the peer nor that of its linger is an error.
	if errors.Is(err, errKept) {
		counts.Error(errKept.Error())
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		counts.Error(lab.ErrnoName(err))
	}
	conn.Close() // fails only if it is closed already
	counts.Closed.Add(1)
}

func main() {
	listener = lab.Start("go-net", &counts)
	for {
		conn, err := listener.Accept()
		if err != nil {
			break // it has stopped
		}
		go run(conn.(*net.TCPConn))
	}
	counts.Drain()
	counts.Stopped()
}
