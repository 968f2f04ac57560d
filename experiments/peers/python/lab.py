"""What the three servers in Python share: limits, protocol, counts, one connection by blocking calls, command line.

They speak the same minimal HTTP/1.1 as the experiments in TypeScript, byte for byte. Standard library only.
"""

import argparse
import contextlib
import errno
import json
import os
import re
import socket
import sys
import threading
import time

# ---- Limits ----------------------------------------------------------------------------------------------------------

BACKLOG = 4096  # connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
MAX_HEAD = 8192  # bytes of a request head; a longer one is answered 431
INBOX = 16384  # bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
MAX_WORK_US = 100_000
PAUSE_S = 0.05  # how long nothing is accepted after the last descriptor was taken
LINGER_S = 1.0  # how long a connection that was answered for the last time may go on sending
STOP_S = 1.0  # how long what is in flight may take after SIGTERM

# ---- Protocol: the minimal HTTP/1.1 that all experiments speak -------------------------------------------------------

ANSWERS = {
    200: b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World",
    400: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    404: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    405: b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}
# A loop over bytes costs some 30 ns a byte in Python, a regular expression 2 to 10: so the parser is one. It matches a
# whole head or nothing. What a group has taken is never given back (++, *+), so no input makes it try twice.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # a method or the name of a field (RFC 9110, section 5.6.2)
HEAD = re.compile(
    rb"(%b) ([!-~]++) HTTP/1\.([01])\r\n((?:%b:[\t -\xff]*+\r\n)*+)\r\n" % (TOKEN, TOKEN)
)
# What nearly everybody asks for: no field of it begins like Connection, Content-Length or Transfer-Encoding.
SIMPLE = re.compile(rb"GET / HTTP/1\.1\r\n(?:(?![CcTt])%b:[\t -\xff]*+\r\n)*+\r\n" % TOKEN)
# The fields that end a connection. Bodies are never read, so behind a request that has one nothing can follow.
CLOSES = re.compile(
    rb"^(?:connection:(?:[^\r]*,)?[\t ]*close[\t ]*[,\r]|transfer-encoding:|content-length:(?![\t ]*0[\t ]*\r))",
    re.IGNORECASE | re.MULTILINE,
)
WORK = re.compile(rb"/work/([0-9]{1,6})")


def parse_head(data, at):
    """Parses the head that starts at `at`: its status, the CPU to burn in µs, whether the connection stays, its end.

    The end is `at` as long as that of the head has not come.
    """
    head = SIMPLE.match(data, at)
    if head is not None and head.end() - at <= MAX_HEAD:
        return 200, 0, True, head.end()
    head = HEAD.match(data, at)
    if head is not None and head.end() - at <= MAX_HEAD:
        method, target, minor, fields = head.groups()
        status, work_us = judge(method, target)
        return status, work_us, minor == b"1" and CLOSES.search(fields) is None, head.end()
    # Rare: it is not all there, too long or malformed. What else is there is refused too, as the connection closes.
    blank = data.find(b"\r\n\r\n", at)
    length = len(data) - at + 1 if blank < 0 else blank + 4 - at
    if length > MAX_HEAD:
        return 431, 0, False, len(data)
    return (200, 0, True, at) if blank < 0 else (400, 0, False, len(data))


def judge(method, target):
    """The status that a request gets, and the CPU to burn before."""
    if method != b"GET":
        return 405, 0
    if target == b"/":
        return 200, 0
    work = WORK.fullmatch(target)
    if work is None or int(work[1]) > MAX_WORK_US:
        return 404, 0
    return 200, int(work[1])


def burn(us):
    """Burns CPU time of this thread; time in which the thread does not run is not counted."""
    until = time.thread_time_ns() + us * 1000
    while time.thread_time_ns() < until:
        pass


def answer(data):
    """Answers every whole request of `data`: the answers, their statuses, the bytes taken, whether it goes on."""
    statuses, at, stays = [], 0, True
    while at < len(data) and stays:
        status, work_us, stays, end = parse_head(data, at)
        if end == at:
            break
        at = end
        if work_us > 0:
            burn(work_us)
        statuses.append(status)
        if stopping:
            stays = False
    answers = ANSWERS[statuses[0]] if len(statuses) == 1 else b"".join([ANSWERS[status] for status in statuses])
    return answers, statuses, at, stays


# ---- Counts, and how it ends -----------------------------------------------------------------------------------------

KEYS = 512  # an errno of Linux is below 200, a status is not
ACCEPTED = 0  # neither of the two is 0

stopping = False


class Tally:
    """Counts by status or errno. Threads may share it: the lock costs a tenth of a microsecond for a read."""

    def __init__(self, cells=None):
        self.cells = [0] * KEYS if cells is None else cells
        self._lock = threading.Lock()

    def add(self, *keys):
        with self._lock:
            for key in keys:
                self.cells[key] += 1


def stop_soon():
    """Tells all that ask `stopping`."""
    global stopping
    stopping = True


def say_stopped(cells):
    """Prints the last line, and ends this process with all threads that it still has."""
    names = {key: errno.errorcode.get(key, str(key)) for key in range(1, KEYS) if cells[key] > 0 and key != 200}
    errors = {name: cells[key] for key, name in names.items()}
    line = {"event": "stopped", "accepted": cells[ACCEPTED], "served": cells[200], "errors": errors}
    print(json.dumps(line), flush=True)
    os._exit(0)


# ---- Connection: served by blocking calls, for threads and prefork ---------------------------------------------------


class Visit:
    """One connection, whose thread or process does nothing else as long as it lasts."""

    __slots__ = ("connection", "idle")

    def __init__(self, connection):
        self.connection = connection
        self.idle = False  # it waits for a request of which nothing has come

    def release(self):
        """Ends it if it waits for nothing: a blocked recv(2) returns. What came just before is still read by it."""
        if self.idle:
            with contextlib.suppress(OSError):  # ENOTCONN: the peer has gone, and recv(2) tells how
                self.connection.shutdown(socket.SHUT_RD)

    def serve(self, tally):
        """Serves it until it ends, and closes it."""
        try:
            with self.connection:
                self._converse(tally)
        except OSError as error:
            tally.add(error.errno)

    def _converse(self, tally):
        connection, kept = self.connection, b""
        while True:
            # Idle is told before `stopping` is read, and he who stops does it the other way round: one sees the other.
            self.idle = not kept
            is_over = self.idle and stopping
            try:
                data = connection.recv(INBOX - len(kept), socket.MSG_DONTWAIT if is_over else 0)
            except BlockingIOError:
                return  # nothing is in flight
            if not data:
                return  # the peer's half is closed, and all it had asked for is answered
            self.idle = False
            data = kept + data if kept else data
            answers, statuses, taken, stays = answer(data)
            tally.add(*statuses)
            if answers:
                connection.sendall(answers)  # a peer that does not read holds it here, and nobody else
            if not stays:
                return self._linger()
            kept = data[taken:]

    def _linger(self):
        """With input unread close(2) would send RST, and the peer might lose the answer: so read on until it closes."""
        until = time.monotonic() + LINGER_S
        with contextlib.suppress(OSError):  # ENOTCONN: the peer has gone, and recv(2) tells how
            self.connection.shutdown(socket.SHUT_WR)
        while (left_s := until - time.monotonic()) > 0:
            self.connection.settimeout(left_s)
            try:
                if not self.connection.recv(INBOX):
                    return
            except TimeoutError:
                return


# ---- Command line, listener, and the ready line ----------------------------------------------------------------------


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
    # Accepted sockets inherit TCP_NODELAY from the listener on Linux: one call here instead of one for each connection.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
