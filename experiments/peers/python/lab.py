"""What the servers in Python share: limits, protocol, counts, one connection by blocking calls, command line.

They speak the same minimal HTTP/1.1 as the experiments in TypeScript, byte for byte. Standard library only.
"""

import argparse
import contextlib
import errno
import json
import os
import re
import socket
import struct
import sys
import threading
import time

# ---- Limits ----------------------------------------------------------------------------------------------------------

BACKLOG = 4096  # connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
MAX_HEAD = 8192  # bytes of a request head; a longer one is answered 431
INBOX = 16384  # bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
MAX_KEPT_BYTES = 64 * 2**20  # of all connections together, partial heads and unsent answers; beyond, one is dropped
MAX_WORK_US = 100_000
PAUSE_S = 0.05  # how long nothing is accepted after the last descriptor was taken
HEAD_S = 10.0  # how long a head may take from its first byte to its last
LINGER_S = 1.0  # how long a client may go on sending after the socket took the last byte of its last answer
STOP_S = 1.0  # how long what is in flight may take after SIGTERM
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 10, 6  # a peer that is gone is found after two minutes
USER_TIMEOUT_MS = 30_000  # how long sent bytes may stay unacknowledged, or a closed window closed: then ETIMEDOUT

# ---- Protocol: the minimal HTTP/1.1 that all experiments speak -------------------------------------------------------

_LINES = {
    200: b"200 OK\r\nContent-Length: 11\r\n",
    400: b"400 Bad Request\r\nContent-Length: 0\r\n",
    404: b"404 Not Found\r\nContent-Length: 0\r\n",
    405: b"405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n",
    408: b"408 Request Timeout\r\nContent-Length: 0\r\n",
    431: b"431 Request Header Fields Too Large\r\nContent-Length: 0\r\n",
    505: b"505 HTTP Version Not Supported\r\nContent-Length: 0\r\n",
}


def _answer_of(status, fields):
    return b"HTTP/1.1 " + _LINES[status] + fields + b"\r\n" + (b"Hello World" if status == 200 else b"")


ANSWERS = {status: _answer_of(status, b"") for status in _LINES}
LAST_ANSWERS = {status: _answer_of(status, b"Connection: close\r\n") for status in _LINES}

# A loop over bytes costs some 30 ns a byte in Python, a regular expression 2 to 10: so the parser is one. It matches a
# whole head or nothing. What a set of bytes has taken is never given back (++, *+), so no input makes it try twice. The
# group of a line must give back: before 3.11.5 a possessive group went on behind what an alternative had taken and lost.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # a method or the name of a field (RFC 9110, section 5.6.2)
HEAD = re.compile(rb"(%b) ([!-~]++) HTTP/([0-9])\.([0-9])\r\n((?:%b:[\t -\xff]*+\r\n)*)\r\n" % (TOKEN, TOKEN))
# What nearly every client sends: no field that decides the connection, unless it asks for what is meant anyway.
SIMPLE = re.compile(
    rb"GET / HTTP/1\.1\r\n(?:Connection: keep-alive\r\n"
    rb"|(?!(?i:connection|content-length|transfer-encoding):)%b:[\t -\xff]*+\r\n)*\r\n" % TOKEN
)
CLOSE = re.compile(rb"^connection:(?:[^\r]*,)?[\t ]*close[\t ]*[,\r]", re.IGNORECASE | re.MULTILINE)
# Bodies are never read, so behind a request that has one nothing can follow.
LENGTH = re.compile(rb"^content-length:[\t ]*([^\r]*?)[\t ]*\r", re.IGNORECASE | re.MULTILINE)
CODING = re.compile(rb"^transfer-encoding:", re.IGNORECASE | re.MULTILINE)
ABSOLUTE = re.compile(rb"http://[^/?]+", re.IGNORECASE)
WORK = re.compile(rb"/work/([0-9]{1,6})")


def parse_head(data, at):
    """Parses the head that starts at `at`: its status, the CPU to burn in µs, whether the connection stays, its end.

    The end is `at` as long as that of the head has not come.
    """
    head = SIMPLE.match(data, at)
    if head is not None and head.end() - at <= MAX_HEAD:
        return 200, 0, True, head.end()
    start = at + 2 if data.startswith(b"\r\n", at) else at  # one empty line may stand before it (RFC 9112, section 2.2)
    blank = data.find(b"\r\n\r\n", start)
    if (len(data) + 1 if blank < 0 else blank + 4) - at > MAX_HEAD:
        return 431, 0, False, len(data)
    if blank < 0:
        return 200, 0, True, at
    head = HEAD.match(data, start)
    if head is None:
        return 400, 0, False, len(data)  # what stands behind it is refused too, as the connection closes
    method, target, major, minor, fields = head.groups()
    lengths = LENGTH.findall(fields)
    if not all(length.isdigit() for length in lengths):  # of bytes: ASCII digits only, and at least one
        return 400, 0, False, len(data)
    if major != b"1":
        return 505, 0, False, len(data)
    has_body = CODING.search(fields) is not None or any(int(length) != 0 for length in lengths)
    status, work_us = judge(method, target)
    return status, work_us, minor != b"0" and not has_body and CLOSE.search(fields) is None, head.end()


def judge(method, target):
    """The status that a request gets, and the CPU to burn before."""
    if method != b"GET":
        return 405, 0
    absolute = ABSOLUTE.match(target)
    if absolute is not None:  # as proxies are asked; a server has to take it too (RFC 9112, section 3.2.2)
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    path = target.partition(b"?")[0]
    if path == b"/":
        return 200, 0
    work = WORK.fullmatch(path)
    if work is None or int(work[1]) > MAX_WORK_US:
        return 404, 0
    return 200, int(work[1])


def burn(us):
    """Burns CPU time of this thread; time in which the thread does not run is not counted."""
    until = time.thread_time_ns() + us * 1000
    while time.thread_time_ns() < until:
        pass


def answer(data, may_work=True):
    """Answers the whole requests of `data`, up to the second one that asks for work: then its connection's turn is over.

    Without `may_work` it stops before the first of them. Returns the answers, their statuses, the bytes taken, whether
    the connection stays, and whether the next request asks for work.
    """
    answers, statuses, at, stays, waits = [], [], 0, True, False
    while at < len(data) and stays:
        status, work_us, stays, end = parse_head(data, at)
        if end == at:
            break
        if work_us > 0:
            waits = not may_work
            if waits:
                stays = True
                break
            burn(work_us)
            may_work = False
        at = end
        if stopping and at == len(data):
            stays = False  # all that was in flight is answered
        statuses.append(status)
        answers.append(ANSWERS[status] if stays else LAST_ANSWERS[status])
    return answers[0] if len(answers) == 1 else b"".join(answers), statuses, at, stays, waits


# ---- Counts, and how it ends -----------------------------------------------------------------------------------------

KEYS = 640  # an errno of Linux is below 200, a status is below 600, and what stands here is above
ACCEPTED, CLOSED, BYTES_IN, BYTES_OUT, KEPT, DROPPED = 600, 601, 602, 603, 604, 605

stopping = False


class KeptError(Exception):
    """All connections together would keep more than MAX_KEPT_BYTES."""


class Tally:
    """Counts by status or errno. Threads may share it: the lock costs a tenth of a microsecond for a read."""

    def __init__(self, cells=None):
        self.cells = [0] * KEYS if cells is None else cells
        self._lock = threading.Lock()

    def add(self, *keys):
        with self._lock:
            for key in keys:
                self.cells[key] += 1

    def add_read(self, length, statuses):
        """Counts the bytes of one read, and the answers to it."""
        with self._lock:
            self.cells[BYTES_IN] += length
            for status in statuses:
                self.cells[status] += 1

    def add_bytes(self, key, length):
        with self._lock:
            self.cells[key] += length

    def keep(self, change):
        """Keeps more or fewer bytes for a connection; raises KeptError where all of them together would keep too many."""
        with self._lock:
            if change > 0 and self.cells[KEPT] + change > MAX_KEPT_BYTES:
                raise KeptError
            self.cells[KEPT] += change


def stop_soon():
    """Tells all that ask `stopping`."""
    global stopping
    stopping = True


def say(event, tally, cells=None, **more):
    """Prints a line by one write(2): a signal handler may do so too.

    Where none can be written, as on a full disk, the server goes on, and counts that.
    """
    cells = tally.cells if cells is None else cells
    names = {key: errno.errorcode.get(key, str(key)) for key in range(1, ACCEPTED) if cells[key] > 0 and key != 200}
    counts = {
        "accepted": cells[ACCEPTED],
        "served": cells[200],
        "bytes_in": cells[BYTES_IN],
        "bytes_out": cells[BYTES_OUT],
        "errors": {name: cells[key] for key, name in names.items()},
    }
    if cells[DROPPED] > 0:
        counts["errors"]["MAX_KEPT_BYTES"] = cells[DROPPED]
    try:
        os.write(1, json.dumps({"event": event, **counts, **more}).encode() + b"\n")
    except OSError as error:
        tally.cells[error.errno] += 1  # without the lock: what the handler interrupts may hold it


def say_stats(tally, cells=None):
    """Prints what SIGUSR1 asks for: the counts of `tally`, unless those of others are added in `cells`."""
    cells = tally.cells if cells is None else cells
    say("stats", tally, cells, open=cells[ACCEPTED] - cells[CLOSED])


def say_stopped(tally, cells=None):
    """Prints the last line, and ends this process with all threads that it still has."""
    say("stopped", tally, cells)
    os._exit(0)


# ---- Connection: served by blocking calls, for threads and prefork ---------------------------------------------------

TCP_ESTABLISHED = 1  # <linux/tcp_states.h>: the peer has not closed its half
AGAIN_S = 0.01  # how often the rest of a head is looked for where a wait is no longer possible
LEAST_S = 0.001  # a timeout of 0 would mean none


class LateError(Exception):
    """A head took longer than HEAD_S."""


class Visit:
    """One connection, whose thread or process does nothing else as long as it lasts."""

    __slots__ = ("connection", "tally", "idle", "released", "kept")

    def __init__(self, connection, tally):
        self.connection, self.tally = connection, tally
        self.idle = False  # it waits for a request of which nothing has come
        self.released = False  # recv(2) does not block any more
        self.kept = 0  # bytes that it keeps in the tally

    def release(self):
        """Ends it if it waits for nothing: a blocked recv(2) returns. What has come is still read by it."""
        if self.idle:
            self.released = True
            with contextlib.suppress(OSError):  # ENOTCONN: the peer has gone, and recv(2) tells how
                self.connection.shutdown(socket.SHUT_RD)

    def serve(self):
        """Serves it until it ends, and closes it."""
        try:
            with self.connection:
                try:
                    self._converse()
                except LateError:
                    self.tally.add(408)
                    self._send(LAST_ANSWERS[408])
                    self._linger()
        except OSError as error:
            self.tally.add(error.errno)
        except KeptError:
            self.tally.add(DROPPED)
        finally:
            self.tally.keep(-self.kept)
            self.tally.add(CLOSED)

    def _keep(self, length):
        if length != self.kept:
            self.tally.keep(length - self.kept)
            self.kept = length

    def _converse(self):
        data, due = b"", None  # the start of a head, and when it has to be complete
        while True:
            self._keep(len(data))
            more = self._receive(INBOX - len(data), due)
            if not more:
                return None  # the peer's half is closed, and all it had asked for is answered
            data = data + more if data else more
            length, waits, is_new = len(more), True, due is None
            while waits:
                answers, statuses, taken, stays, waits = answer(data)
                self.tally.add_read(length, statuses)
                length = 0
                if answers:
                    self._send(answers)  # a peer that does not read holds it here, and nobody else
                if not stays:
                    return self._linger()
                if taken > 0:
                    data, is_new = data[taken:], True
            if data:
                due = self._set_due(None if is_new else due)
            elif due is not None:
                self._set_timeout(0)
                due = None

    def _receive(self, most, due):
        """Waits for bytes; none come where the peer has closed its half, or where it is to end and none are there."""
        # Idle is set before `stopping` is read, and whoever stops does it the other way round: one sees the other.
        self.idle = due is None
        is_over = self.idle and stopping
        try:
            more = self.connection.recv(most, socket.MSG_DONTWAIT if is_over else 0)
        except BlockingIOError:
            if is_over:
                return b""
            raise LateError from None
        self.idle = False
        if more or not self.released or due is None:
            return more
        # Released between the first bytes of a head and the look at them: behind SHUT_RD nothing blocks, but what comes
        # is still queued. The process ends after STOP_S, and this wait with it.
        while not more and self._is_established():
            time.sleep(AGAIN_S)
            more = self.connection.recv(most)
        return more

    def _is_established(self):
        return self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED

    def _set_due(self, due):
        """Bounds recv(2) by when the head that has begun must be complete; None: it has begun just now."""
        now = time.monotonic()
        if due is None:
            due = now + HEAD_S
        if now >= due:
            raise LateError
        self._set_timeout(due - now)
        return due

    def _set_timeout(self, seconds):
        whole = int(seconds)
        timeval = struct.pack("ll", whole, int((seconds - whole) * 1e6))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def _send(self, answers):
        """Sends all of it. One answer is a constant; more than one are bytes that are kept until they are sent."""
        if len(answers) > len(LAST_ANSWERS[431]):
            self._keep(self.kept + len(answers))
        # Counted before, so that it is counted once the client has it: behind send(2) this thread may wait for the lock.
        self.tally.add_bytes(BYTES_OUT, len(answers))
        sent = 0
        try:
            while sent < len(answers):
                sent += self.connection.send(answers[sent:] if sent else answers)
        except OSError:
            self.tally.add_bytes(BYTES_OUT, sent - len(answers))
            raise

    def _linger(self):
        """With input unread close(2) would send RST, and the peer might lose the answer: so read on until it closes.

        The socket has taken the last byte before this begins, so its time bounds what the client sends and not how
        slowly it reads.
        """
        self._keep(0)
        until = time.monotonic() + LINGER_S
        with contextlib.suppress(OSError):  # ENOTCONN: the peer has gone, and recv(2) tells how
            self.connection.shutdown(socket.SHUT_WR)
        while (left_s := until - time.monotonic()) > 0:
            self._set_timeout(max(left_s, LEAST_S))
            try:
                more = self.connection.recv(INBOX)
            except BlockingIOError:
                return
            if not more:
                return
            self.tally.add_bytes(BYTES_IN, len(more))


# ---- Command line, listener, and the ready line ----------------------------------------------------------------------

# Errors of the network that accept(2) passes on: they belong to one connection, and the next one may be accepted.
PASSING = frozenset({
    errno.ECONNABORTED, errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EPERM,
})


def read_options(experiment, **more):
    """Reads --port, --host and whatever else has a default in `more`. The launcher has checked the values."""
    parser = argparse.ArgumentParser(experiment, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def listen_on(host, port):
    """Creates the listening socket, or ends with what was tried, the errno by name, and what to do about it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit these from the listener on Linux: calls here instead of calls for each connection. So the
    # kernel ends a peer that is gone, and one that does not read.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        name = errno.errorcode[error.errno]
        sys.exit(f"Cannot bind {host}:{port}: {name} ({error.errno}), choose another --port (0: any) or --host")
    return listener


def say_ready(experiment, listener):
    """Prints the first line: from now on it accepts."""
    host, port = listener.getsockname()
    line = {"event": "ready", "experiment": experiment, "port": port, "pid": os.getpid()}
    print(json.dumps(line), flush=True)
    print(f"Listening. Try: curl -i http://{host}:{port}/", file=sys.stderr, flush=True)
