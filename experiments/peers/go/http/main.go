// go-http: net/http, the server of the standard library, with a handler.
package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"c10k-lab/peers/go/lab"
)

var counts lab.Counts

// handle is called by the goroutine of the connection, for one request after the other.
func handle(w http.ResponseWriter, r *http.Request) {
	workUs, found := lab.ParseTarget(r.URL.Path)
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed)
	case !found:
		refuse(w, http.StatusNotFound)
	default:
		lab.Burn(workUs)
		counts.Served.Add(1)
		io.WriteString(w, lab.Hello) // fails only where the peer is gone, and then nobody is there to tell
	}
}

func refuse(w http.ResponseWriter, status int) {
	counts.Error(strconv.Itoa(status))
	w.Header().Set("Content-Length", "0") // without it the answer to HEAD would not tell its length
	w.WriteHeader(status)
}

// countingListener counts what net/http does not tell: connections, and what accept(2) refused. After an error
// net/http pauses by itself, 5 ms at first and up to a second.
type countingListener struct{ net.Listener }

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		counts.Accepted.Add(1)
	} else if !errors.Is(err, net.ErrClosed) {
		counts.Error(lab.ErrnoName(err))
	}
	return conn, err
}

func main() {
	listener, stop := lab.Start("go-http")
	server := http.Server{Handler: http.HandlerFunc(handle), MaxHeaderBytes: lab.MaxHead}
	go func() {
		if err := server.Serve(countingListener{listener}); !errors.Is(err, http.ErrServerClosed) {
			os.Stderr.WriteString("Cannot accept: " + err.Error() + ", start it again\n")
			os.Exit(1)
		}
	}()
	<-stop
	inFlight, cancel := context.WithTimeout(context.Background(), lab.StopTime)
	defer cancel()
	server.Shutdown(inFlight) // fails where a second is not enough: the process ends, and with it what is left
	counts.Stopped()
}
