"""A thread for each connection, with blocking calls. All of them share one interpreter lock (GIL): a thread that waits
in the kernel gives it away, but of those that run Python there is one at a time."""

import errno
import os
import signal
import socket
import threading
import time

import lab

SIGNALS = {signal.SIGTERM, signal.SIGINT}

tally = lab.Tally()
visits = set()  # all that are there
left = threading.Condition()  # guards `visits`, and tells that one has gone


def live(visit):
    """The life of a thread."""
    visit.serve(tally)
    with left:
        visits.discard(visit)
        left.notify()


# ---- The architecture: the main thread accepts, and makes a thread for each connection -------------------------------


def start_thread(connection):
    """Gives a connection its thread. One that cannot be made (a limit of threads or of memory) refuses only this."""
    visit = lab.Visit(connection)
    with left:
        visits.add(visit)
    try:
        threading.Thread(target=live, args=(visit,), daemon=True).start()
    except RuntimeError:  # "can't start new thread": pthread_create(3) said EAGAIN, and Python does not pass it on
        tally.add(errno.EAGAIN)
        connection.close()
        with left:
            visits.discard(visit)


def hear_signals(listener):
    """The life of one more thread. A handler would run in the main thread between two bytecodes: too late for a signal
    that comes just before accept(2) blocks. So all threads block the signals, and this one waits for them."""
    signal.sigwait(SIGNALS)
    lab.stop_soon()
    listener.shutdown(socket.SHUT_RD)  # it ends a blocked accept(2) with EINVAL, and the next one too
    signal.sigwait(SIGNALS)
    os._exit(1)  # the second signal does not wait


def serve(listener):
    while not lab.stopping:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue  # the peer has gone before it was accepted
        except OSError as error:
            if lab.stopping:
                return
            tally.add(error.errno)  # EMFILE, ENFILE, ENOMEM: those that come wait until another has left
            time.sleep(lab.PAUSE_S)
            continue
        tally.add(lab.ACCEPTED)
        start_thread(connection)


def see_off():
    """Wakes those that wait for nothing, and waits until all have ended or STOP_S are over."""
    with left:
        for visit in visits:
            visit.release()
        left.wait_for(lambda: not visits, lab.STOP_S)


def main():
    options = lab.read_options("python-threads")
    listener = lab.listen_on(options.host, options.port)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # threads inherit it
    threading.Thread(target=hear_signals, args=(listener,), daemon=True).start()
    lab.say_ready("python-threads", listener)
    serve(listener)
    listener.close()
    see_off()
    lab.say_stopped(tally.cells)


main()
