"""A thread for each connection, with blocking calls. All of them share one interpreter lock (GIL): a thread that waits
in the kernel gives it away, but of those that run Python there is one at a time."""

import errno
import os
import select
import signal
import socket
import threading
import time

import lab

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}

tally = lab.Tally()
visits = set()  # all that are there
left = threading.Condition()  # guards `visits`, and is notified when one has gone


def run_visit(visit):
    """What a thread does."""
    visit.serve()
    with left:
        visits.discard(visit)
        left.notify()


# ---- The architecture: the main thread accepts, and makes a thread for each connection -------------------------------


def start_thread(connection):
    """Gives a connection its thread. One that cannot be made (a limit of threads or of memory) refuses only this."""
    visit = lab.Visit(connection, tally)
    with left:
        visits.add(visit)
    try:
        threading.Thread(target=run_visit, args=(visit,), daemon=True).start()
    except RuntimeError:  # "can't start new thread": pthread_create(3) said EAGAIN, and Python does not pass it on
        tally.add(errno.EAGAIN, lab.CLOSED)
        connection.close()
        with left:
            visits.discard(visit)


def hear_signals(wake):
    """What one more thread does. A handler would run in the main thread between two bytecodes: too late for a signal
    that comes just before a system call blocks. So all threads block the signals, and this one waits for them."""
    while True:
        if signal.sigwait(SIGNALS) == signal.SIGUSR1:
            lab.say_stats(tally)
        elif lab.stopping:
            os._exit(1)  # the second signal does not wait
        else:
            lab.stop_soon()
            wake.send(b"!")


def serve(listener, woken):
    """Accepts until a byte comes from `woken`, then what has completed its handshake, and no more."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        poll.poll()
        accept_all(listener)
        if lab.stopping:
            return


def accept_all(listener):
    """Accepts what waits. Where a descriptor is missing it pauses: until another has left, poll(2) would not wait."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in lab.PASSING:
                continue
            tally.add(error.errno)  # EMFILE, ENFILE, ENOBUFS, ENOMEM
            time.sleep(lab.PAUSE_S)
            return
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
    listener.setblocking(False)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # threads inherit it
    wake, woken = socket.socketpair()
    threading.Thread(target=hear_signals, args=(wake,), daemon=True).start()
    lab.say_ready("python-threads", listener)
    serve(listener, woken)
    listener.close()
    see_off()
    lab.say_stopped(tally)


main()
