"""Processes made beforehand, as Apache 1.x and gunicorn have them: all block in accept(2) on the same listening socket,
and each serves one connection until it ends. Each has an interpreter, and so a lock (GIL), of its own."""

import ctypes
import errno
import mmap
import os
import select
import signal
import socket
import sys
import time

import lab

MIN_PAUSE_S, MAX_PAUSE_S = 0.05, 1.0  # how long dead workers are not replaced, doubled if the new ones die too
AGAIN_S = 0.01  # how often workers are told to stop
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1}
STOPS = {signal.SIGTERM, signal.SIGINT}

# ---- A worker --------------------------------------------------------------------------------------------------------


def work(listener, tally):
    """Accepts a connection, serves it until it ends, and accepts the next."""
    visit = None

    def hear(_number, _frame):
        lab.stop_soon()
        if visit is not None:
            visit.release()

    for number in STOPS:
        signal.signal(number, hear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # the parent has made the listener non-blocking to stop, and nobody waits there any more
        except OSError as error:
            if error.errno == errno.EINVAL:
                return  # the parent has ended the listening
            if error.errno in lab.PASSING:
                continue
            tally.add(error.errno)  # EMFILE, ENFILE, ENOBUFS, ENOMEM
            time.sleep(lab.PAUSE_S)
            continue
        tally.add(lab.ACCEPTED)
        visit = lab.Visit(connection, tally)
        visit.serve()
        visit = None


# ---- The architecture: N processes, and the listening socket that all of them block on -------------------------------


class Workers:
    """The workers by process id, each with a page of its own for what it counts: so no count needs a lock."""

    def __init__(self, listener, number):
        self.listener, self.number = listener, number
        self.places = {}  # process id → number of its page
        self.free = list(range(number))  # pages without a worker; its successor counts on
        # Shared by all: not copied on write.
        self.pages = memoryview(mmap.mmap(-1, (number + 1) * lab.KEYS * 8)).cast("Q")
        self.tally = lab.Tally(self.page(number))  # of the parent

    def page(self, place):
        return self.pages[place * lab.KEYS : (place + 1) * lab.KEYS]

    def start(self):
        """Makes those that are missing, or raises OSError: EAGAIN, ENOMEM."""
        parent = os.getpid()
        while self.free:
            pid = os.fork()
            if pid == 0:
                self.live(parent)
            self.places[pid] = self.free.pop()

    def live(self, parent):
        """All that a child does. It must not return into what the parent was about to do."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no child outlives its parent,
            if os.getppid() == parent:  # not even one that had died before that call
                work(self.listener, lab.Tally(self.page(self.free[-1])))
                code = 0
        finally:
            os._exit(code)

    def reap(self):
        """Waits for those that have ended, and closes their accounts."""
        while self.places:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            place = self.places.pop(pid)
            self.free.append(place)
            if status != 0:
                self.tally.add(errno.ESRCH)  # it was killed
                page = self.page(place)
                page[lab.CLOSED], page[lab.KEPT] = page[lab.ACCEPTED], 0  # the kernel has closed its connection

    def kill(self, number):
        for pid in self.places:
            os.kill(pid, number)  # never a stranger: its id is its own until it is waited for

    def cells(self):
        return [sum(self.pages[key :: lab.KEYS]) for key in range(lab.KEYS)]


def wait(workers, seconds):
    """Waits for a signal: true if it asks to stop. All are blocked else, so none is missed and none interrupts."""
    heard = signal.sigtimedwait(HEARD, max(seconds, 0))
    if heard is not None and heard.si_signo == signal.SIGUSR1:
        lab.say_stats(workers.tally, workers.cells())
    return heard is not None and heard.si_signo in STOPS


def serve(workers):
    """Replaces workers that die, until it is asked to stop."""
    pause_s, started_at, due_at = 0.0, time.monotonic(), None
    while not wait(workers, MAX_PAUSE_S if due_at is None else due_at - time.monotonic()):
        workers.reap()
        now = time.monotonic()
        if not workers.free:
            due_at = None
        elif due_at is None:  # where one dies after the other, this must not spin
            pause_s = MIN_PAUSE_S if now - started_at > MAX_PAUSE_S else min(2 * pause_s + MIN_PAUSE_S, MAX_PAUSE_S)
            due_at = now + pause_s
        elif now >= due_at:
            started_at, due_at = now, None
            try:
                workers.start()
            except OSError as error:
                workers.tally.add(error.errno)  # as many processes as there can be
                due_at = now + MAX_PAUSE_S


def see_off(workers):
    """Lets the workers accept what waits and answer what is in flight, and ends those that are there after STOP_S."""
    workers.listener.setblocking(False)  # in all processes: they share its file description
    is_listening = True
    until = time.monotonic() + lab.STOP_S
    while workers.places and time.monotonic() < until:
        # A handler runs between two bytecodes, so it would hear too late of a signal that comes just before a call
        # blocks: it is sent again and again.
        workers.kill(signal.SIGTERM)
        if is_listening and not select.select([workers.listener], [], [], 0)[0]:
            workers.listener.shutdown(socket.SHUT_RD)  # ends the listening in all processes, a close(2) only in this one
            is_listening = False
        if wait(workers, AGAIN_S):  # the second signal does not wait
            workers.kill(signal.SIGKILL)
            os._exit(1)
        workers.reap()
    workers.kill(signal.SIGKILL)


def main():
    options = lab.read_options("python-prefork", workers=100)
    workers = Workers(lab.listen_on(options.host, options.port), options.workers)
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        workers.start()
    except OSError as error:
        workers.kill(signal.SIGKILL)
        number, name = len(workers.places) + 1, errno.errorcode[error.errno]
        reason = f"worker {number} cannot be made: {name}, choose fewer --workers."
        print(f"python-prefork cannot run here: {reason}", file=sys.stderr, flush=True)
        os._exit(69)  # EX_UNAVAILABLE of <sysexits.h>
    lab.say_ready("python-prefork", workers.listener)
    serve(workers)
    see_off(workers)
    lab.say_stopped(workers.tally, workers.cells())


main()
