// ws-go: gorilla/websocket on net/http. Two goroutines for each listener: one reads, one writes what a channel brings.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"c10k-lab/peers/go/lab"
	"github.com/gorilla/websocket"
)

const (
	gcPercent       = 400 // GOGC unless the environment says otherwise
	maxMessage      = 65_535
	maxUnsent       = 256 * 1024 // bytes of one listener that its goroutine has not written; beyond, it is reset
	maxUnsentFrames = 1024       // of one listener
	lingerTime      = time.Second
)

var counts = lab.Counts{Pushes: true}
var upgrader = websocket.Upgrader{
	HandshakeTimeout: lab.HeadTime,
	WriteBufferPool:  &sync.Pool{},
	CheckOrigin:      func(*http.Request) bool { return true },
}

// message is framed once, and its bytes are counted in the queue of each listener.
type message struct {
	frame  *websocket.PreparedMessage
	length int64
}

// listener is a client.
type listener struct {
	conn   *websocket.Conn
	queue  chan message
	unsent atomic.Int64  // bytes in the queue
	done   chan struct{} // closed when the queue is at its end and all of it is written
}

// listeners are those that get messages. Whoever holds the lock makes the order, the same for all.
var (
	mutex     sync.Mutex
	listeners = map[*listener]struct{}{}
	stopping  bool
)

// join shakes hands. Under the lock: a message between the answer and the entry would pass by a client that is open.
func join(w http.ResponseWriter, r *http.Request) *listener {
	mutex.Lock()
	defer mutex.Unlock()
	if stopping {
		refuse(w, http.StatusServiceUnavailable)
		return nil
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil { // it has answered
		counts.Status(http.StatusBadRequest)
		return nil
	}
	conn.SetReadLimit(maxMessage)
	conn.SetCloseHandler(func(int, string) error { return nil }) // the usual one answers before what waits is written
	l := &listener{conn: conn, queue: make(chan message, maxUnsentFrames), done: make(chan struct{})}
	listeners[l] = struct{}{}
	go l.write()
	return l
}

// leave ends the queue, and with it the goroutine that writes.
func (l *listener) leave() {
	mutex.Lock()
	defer mutex.Unlock()
	l.remove()
}

// remove does so under the lock. It tells whether it was there.
func (l *listener) remove() bool {
	_, known := listeners[l]
	if known {
		delete(listeners, l)
		close(l.queue)
	}
	return known
}

// publish sends a message to all. A listener whose queue is full is reset: a Close would not reach it.
func publish(text []byte) {
	frame, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil { // of a text without compression it has no reason
		panic(err)
	}
	mutex.Lock()
	defer mutex.Unlock()
	counts.Served.Add(1)
	for l := range listeners {
		if l.unsent.Add(int64(len(text))) <= maxUnsent {
			select {
			case l.queue <- message{frame, int64(len(text))}:
				continue
			default:
			}
		}
		counts.Error("MAX_UNSENT")
		l.remove()
		l.reset()
	}
}

// reset has close(2) send RST and throw away what the socket holds.
func (l *listener) reset() {
	l.conn.NetConn().(countingConn).SetLinger(0) // fails only where the peer is gone
	l.conn.NetConn().Close()
}

// write writes what the queue brings.
func (l *listener) write() {
	defer close(l.done)
	for m := range l.queue {
		if err := l.conn.WritePreparedMessage(m.frame); err != nil {
			l.conn.NetConn().Close() // the goroutine that reads sees it
			continue
		}
		l.unsent.Add(-m.length)
		counts.Delivered.Add(1)
	}
}

// read takes messages until the connection ends. The library answers pings and violations by itself.
func (l *listener) read() {
	defer l.conn.NetConn().Close()
	defer l.leave()
	for {
		kind, text, err := l.conn.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			l.end(closed.Code)
			return
		case err != nil:
			if errors.Is(err, websocket.ErrReadLimit) {
				counts.Error("1009")
			}
			l.linger()
			return
		case kind != websocket.TextMessage:
			l.fail(websocket.CloseUnsupportedData)
			return
		case !utf8.Valid(text):
			l.fail(websocket.CloseInvalidFramePayloadData)
			return
		}
		publish(text)
	}
}

// fail ends it because of what the peer has done.
func (l *listener) fail(code int) {
	counts.Status(code)
	l.end(code)
}

// end says why it ends, behind all that waits: the kernel ends a peer that takes nothing of it.
func (l *listener) end(code int) {
	l.leave()
	l.sendClose(code)
	l.linger()
}

func (l *listener) sendClose(code int) {
	<-l.done
	// It fails where the peer is gone, or does not read.
	l.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(lab.StopTime))
}

// linger throws input away until the peer closes too: with input unread close(2) would send RST.
func (l *listener) linger() {
	conn := l.conn.NetConn().(countingConn)
	conn.CloseWrite()
	conn.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, conn)
}

func handle(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed)
	case r.URL.Path != "/" && r.URL.Path != "":
		refuse(w, http.StatusNotFound)
	case !websocket.IsWebSocketUpgrade(r):
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Version", "13")
		refuse(w, http.StatusUpgradeRequired)
	default:
		if l := join(w, r); l != nil {
			l.read()
		}
	}
}

func refuse(w http.ResponseWriter, status int) {
	counts.Status(status)
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// countingConn counts bytes.
type countingConn struct {
	*net.TCPConn
	closed *sync.Once
}

func (c countingConn) Read(into []byte) (int, error) {
	got, err := c.TCPConn.Read(into)
	counts.BytesIn.Add(int64(got))
	return got, err
}

func (c countingConn) Write(bytes []byte) (int, error) {
	sent, err := c.TCPConn.Write(bytes)
	counts.BytesOut.Add(int64(sent))
	return sent, err
}

func (c countingConn) Close() error {
	c.closed.Do(func() { counts.Closed.Add(1) })
	return c.TCPConn.Close()
}

// countingListener makes the connections of another one count.
type countingListener struct{ *lab.Listener }

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{conn.(*net.TCPConn), &sync.Once{}}, nil
}

// stop takes leave of all, behind what each has still to take.
func stop() {
	mutex.Lock()
	stopping = true
	all := listeners
	listeners = map[*listener]struct{}{}
	for l := range all {
		close(l.queue)
	}
	mutex.Unlock()
	var left sync.WaitGroup
	for l := range all {
		left.Add(1)
		go func(l *listener) {
			defer left.Done()
			l.sendClose(websocket.CloseGoingAway)
		}(l)
	}
	left.Wait()
	for until := time.Now().Add(lab.StopTime); counts.Closed.Load() < counts.Accepted.Load() && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
}

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	socket := lab.Start("ws-go", &counts)
	server := http.Server{
		Handler:           http.HandlerFunc(handle),
		ReadHeaderTimeout: lab.HeadTime,
		MaxHeaderBytes:    lab.MaxHead,
		ErrorLog:          log.New(io.Discard, "", 0), // what a client does wrong is no event of the server
	}
	if err := server.Serve(countingListener{socket}); !errors.Is(err, net.ErrClosed) {
		os.Stderr.WriteString("Cannot accept: " + err.Error() + ", start it again\n")
		os.Exit(1)
	}
	stop()
	ended, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	server.Shutdown(ended) // of those that have not shaken hands
	counts.Stopped()
}
