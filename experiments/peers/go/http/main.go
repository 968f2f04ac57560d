// go-http: net/http, the server of the standard library, with a handler.
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

	"c10k-lab/peers/go/lab"
)

const gcPercent = 400 // GOGC unless the environment says otherwise: at 100 a heap of 4 MiB is collected tens of times a second

var counts lab.Counts

// handle is called by the goroutine of the connection, for one request after the other.
func handle(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if path == "" { // http://host stands for http://host/
		path = "/"
	}
	workUs, found := lab.ParsePath(path)
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed)
	case !found:
		refuse(w, http.StatusNotFound)
	default:
		lab.Burn(workUs)
		counts.Status(http.StatusOK)
		io.WriteString(w, lab.Hello) // fails only where the peer is gone, and then there is none to answer
	}
}

func refuse(w http.ResponseWriter, status int) {
	counts.Status(status)
	w.Header().Set("Content-Length", "0") // without it the answer to HEAD would not tell its length
	w.WriteHeader(status)
}

// countingConn counts bytes. net/http reads and writes by these two methods alone.
type countingConn struct{ *net.TCPConn }

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
	err := c.TCPConn.Close()
	if err == nil { // net/http may close twice
		counts.Closed.Add(1)
	}
	return err
}

// countingListener makes the connections of another one count.
type countingListener struct{ *lab.Listener }

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{conn.(*net.TCPConn)}, nil
}

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	listener := lab.Start("go-http", &counts)
	// No ReadHeaderTimeout: it starts with the connection and not with the first byte, so it would end idle ones.
	server := http.Server{
		Handler:        http.HandlerFunc(handle),
		MaxHeaderBytes: lab.MaxHead,
		ErrorLog:       log.New(io.Discard, "", 0), // what a client does wrong is no event of the server
	}
	if err := server.Serve(countingListener{listener}); !errors.Is(err, net.ErrClosed) {
		os.Stderr.WriteString("Cannot accept: " + err.Error() + ", start it again\n")
		os.Exit(1)
	}
	counts.Drain() // Shutdown closes connections of which nothing is read yet, though their requests may have come
	inFlight, cancel := context.WithTimeout(context.Background(), lab.StopTime)
	defer cancel()
	server.Shutdown(inFlight) // fails where a second is not enough: the process ends, and with it what is left
	counts.Stopped()
}
