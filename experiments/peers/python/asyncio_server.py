"""asyncio: one thread, and an object with callbacks for each connection. uvloop_server.py runs the same on another loop.

A BufferedProtocol is the lowest of asyncio's public interfaces: the loop reads into a buffer that the protocol lends.
Streams (StreamReader, `await reader.readuntil`) stand above it, and cost a task and several objects a connection more.
"""

import asyncio
import collections
import contextlib
import errno
import os
import signal

import lab

QUIET_S = 0.02  # after SIGTERM: a while in which nothing came means that nothing more had been sent before
WORK_S = 0.01  # how long requests for work are served in a row; between two of them the loop turns

# ---- Connection: an object, and the start of a head while its end has not come ---------------------------------------

inbox = memoryview(bytearray(lab.INBOX))  # shared by all: it is filled and emptied within one turn of the loop
tally = lab.Tally()
connections = set()
working = collections.deque()  # connections whose next request asks for work, in the order in which they are served
is_scheduled = False  # the loop will call `work`
reads = 0


class Connection(asyncio.BufferedProtocol):
    """One connection. The loop calls what is here whenever something has happened to it."""

    __slots__ = ("transport", "partial", "timer", "unsent", "leaving", "works", "kept")

    def connection_made(self, transport):
        self.transport = transport
        self.partial = b""  # what is not answered yet: the start of a head, or a request that waits for its turn
        self.timer = None  # ends the head that has begun, or the linger
        self.unsent = False  # the socket has not taken all answers yet
        self.leaving = False  # it was answered for the last time
        self.works = False  # it is in `working`, and is not read
        self.kept = 0  # bytes that it keeps in the tally
        # Whatever the socket does not take stops the reading: so the answers to one inbox are all that may wait.
        transport.set_write_buffer_limits(high=0)
        connections.add(self)

    def get_buffer(self, sizehint):
        carried = len(self.partial)
        if carried == 0:
            return inbox
        inbox[:carried] = self.partial
        return inbox[carried:]

    def buffer_updated(self, length):
        global reads
        reads += 1
        if self.leaving:
            tally.add_bytes(lab.BYTES_IN, length)  # thrown away, the last answer is out
        else:
            self.proceed(bytes(inbox[: len(self.partial) + length]), length, False)

    def proceed(self, data, length, may_work):
        """Answers the whole requests of `data`, of which the last `length` bytes are new."""
        answers, statuses, taken, stays, waits = lab.answer(data, may_work)
        tally.add_read(length, statuses)
        rest = data[taken:] if stays else b""
        if self.timer is not None and (taken > 0 or not stays):
            self.timer.cancel()
            self.timer = None
        self.partial = rest
        if answers:
            tally.add_bytes(lab.BYTES_OUT, len(answers))
            self.transport.write(answers)
        if rest or self.kept > 0:
            self.keep()
        if not stays:
            self.leave()
        elif waits:
            self.transport.pause_reading()
            self.works = True
            if not self.unsent:
                queue_work(self)
        elif rest and self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(lab.HEAD_S, self.refuse_late_head)

    def keep(self):
        """Counts the bytes that it keeps. Where all connections together keep too many, this one ends."""
        kept = len(self.partial) + self.transport.get_write_buffer_size()
        try:
            tally.keep(kept - self.kept)
            self.kept = kept
        except lab.KeptError:
            tally.add(lab.DROPPED)
            self.transport.abort()

    def refuse_late_head(self):
        self.timer, self.partial = None, b""
        tally.add(408)
        tally.add_bytes(lab.BYTES_OUT, len(lab.LAST_ANSWERS[408]))
        self.transport.write(lab.LAST_ANSWERS[408])
        self.leave()

    def leave(self):
        """With input unread close(2) would send RST, and the peer might lose the answer: so linger until it closes."""
        self.leaving = True
        with contextlib.suppress(OSError):  # ENOTCONN: the peer has gone, and recv(2) tells how
            self.transport.write_eof()  # behind what is not sent yet
        if not self.unsent:
            self.linger()

    def linger(self):
        """The socket has taken the last byte, so this bounds what the client sends and not how slowly it reads."""
        self.timer = asyncio.get_running_loop().call_later(lab.LINGER_S, self.transport.abort)

    def pause_writing(self):
        self.unsent = True
        self.transport.pause_reading()
        self.keep()

    def resume_writing(self):
        self.unsent = False
        self.keep()
        if self.works:
            queue_work(self)
            return
        if self.leaving:
            self.linger()
        self.transport.resume_reading()

    def work(self):
        """Serves a request for work, and what stands behind it up to the next one."""
        self.works = False
        self.proceed(self.partial, 0, True)
        if not self.works and not self.unsent:
            self.transport.resume_reading()

    # There is no eof_received(): the default closes, once all is sent, and all that was asked for is answered.

    def connection_lost(self, error):
        connections.discard(self)
        tally.keep(-self.kept)
        tally.add(lab.CLOSED)
        if self.timer is not None:
            self.timer.cancel()
        if isinstance(error, OSError):
            tally.add(error.errno)  # a reset ends this connection and no other

    def in_flight(self):
        return self.partial or self.leaving or self.unsent


# ---- Work: a few requests in a turn of the loop, so that it hears signals and serves others in between ---------------


def queue_work(connection):
    global is_scheduled
    working.append(connection)
    if not is_scheduled:
        is_scheduled = True
        asyncio.get_running_loop().call_soon(work)


def work():
    """Serves those that wait for work, in turn, for WORK_S. Meanwhile they may come to wait again."""
    global is_scheduled
    loop = asyncio.get_running_loop()
    until = loop.time() + WORK_S
    while working and loop.time() < until:
        connection = working.popleft()
        if connection in connections and not connection.transport.is_closing():
            connection.work()
    is_scheduled = len(working) > 0
    if is_scheduled:
        loop.call_soon(work)


# ---- The architecture: the loop belongs to the library ---------------------------------------------------------------


# loop.create_server() accepts by itself, but tries as often as the backlog is long, also without a free descriptor: 4096
# failures, and as many timers that each start to listen again. So accept(2) is called here.

ACCEPTS = 64  # connections accepted in a row, so that a flood of new ones cannot starve the old ones

welcomes = set()  # tasks: the loop itself does not keep them


def start_accepting(loop, listener):
    if not lab.stopping:
        loop.add_reader(listener, accept_some, loop, listener)


def accept_some(loop, listener):
    """Accepts what waits, up to ACCEPTS. Returns whether more may wait."""
    for _ in range(ACCEPTS):
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in lab.PASSING:
                continue
            tally.add(error.errno)  # EMFILE, ENFILE, ENOBUFS, ENOMEM: the loop would report the listener again and again
            loop.remove_reader(listener)
            loop.call_later(lab.PAUSE_S, start_accepting, loop, listener)
            return False
        tally.add(lab.ACCEPTED)
        connection.setblocking(False)
        welcome = loop.create_task(loop.connect_accepted_socket(Connection, connection))
        welcomes.add(welcome)
        welcome.add_done_callback(forget_welcome)
    return True


def forget_welcome(welcome):
    welcomes.discard(welcome)
    if welcome.exception() is not None:
        tally.add(getattr(welcome.exception(), "errno", errno.EIO), lab.CLOSED)


def hear(_number, _frame):
    if lab.stopping:
        os._exit(1)  # the second signal does not wait, not for a turn of the loop either
    lab.stop_soon()


def hear_stats(_number, _frame):
    lab.say_stats(tally)


async def see_off():
    """Waits until nothing is in flight any more, or STOP_S are over."""
    loop = asyncio.get_running_loop()
    until, before = loop.time() + lab.STOP_S, None
    while loop.time() < until and (welcomes or reads != before or any(one.in_flight() for one in connections)):
        before = reads
        await asyncio.sleep(QUIET_S)


async def main(experiment):
    options = lab.read_options(experiment)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    listener = lab.listen_on(options.host, options.port)
    listener.setblocking(False)
    start_accepting(loop, listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)  # in the next turn of the loop, which a signal wakes
        signal.signal(number, hear)  # at once, between two bytecodes
    signal.signal(signal.SIGUSR1, hear_stats)
    lab.say_ready(experiment, listener)
    await stop.wait()
    while accept_some(loop, listener):
        pass  # as many as the backlog holds
    loop.remove_reader(listener)
    listener.close()
    await see_off()
    lab.say_stopped(tally)


if __name__ == "__main__":
    asyncio.run(main("python-asyncio"))
