"""asyncio with its own event loop: one thread, and an object with callbacks for each connection.

A BufferedProtocol is the lowest of asyncio's public interfaces: the loop reads into a buffer that the protocol lends.
Streams (StreamReader, `await reader.readuntil`) stand above it, and cost a task and several objects a connection more.
"""

import asyncio
import os
import signal

import lab

QUIET_S = 0.02  # after SIGTERM: a while in which nothing came means that nothing more had been sent before

# ---- Connection: an object, and the start of a head while its end has not come ---------------------------------------

inbox = memoryview(bytearray(lab.INBOX))  # shared by all: it is filled and emptied within one turn of the loop
tally = lab.Tally()
connections = set()
reads = 0


class Connection(asyncio.BufferedProtocol):
    """One connection. The loop calls what is here whenever something has happened to it."""

    __slots__ = ("transport", "partial", "farewell")

    def connection_made(self, transport):
        self.transport = transport
        self.partial = b""  # the start of a head whose end has not come
        self.farewell = None  # once it was answered for the last time: the timer that ends it
        # Whatever the socket does not take stops the reading: so the answers to one inbox are all that may wait.
        transport.set_write_buffer_limits(high=0)
        connections.add(self)

    def get_buffer(self, sizehint):
        had = len(self.partial)
        if had == 0:
            return inbox
        inbox[:had] = self.partial
        return inbox[had:]

    def buffer_updated(self, length):
        global reads
        reads += 1
        if self.farewell is not None:
            return  # thrown away, the last answer is out
        data = bytes(inbox[: len(self.partial) + length])
        answers, statuses, taken, stays = lab.answer(data)
        tally.add(*statuses)
        self.partial = data[taken:] if stays else b""
        if answers:
            self.transport.write(answers)
        if not stays:
            self.leave()

    def leave(self):
        """With input unread close(2) would send RST, and the peer might lose the answer: so linger until it closes."""
        self.farewell = asyncio.get_running_loop().call_later(lab.LINGER_S, self.transport.abort)
        self.transport.write_eof()  # behind what is not sent yet

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    # There is no eof_received(): the default closes, once all is sent, and all that was asked for is answered.

    def connection_lost(self, error):
        connections.discard(self)
        if self.farewell is not None:
            self.farewell.cancel()
        if isinstance(error, OSError):
            tally.add(error.errno)  # a reset ends this connection and no other

    def in_flight(self):
        return self.partial or self.farewell is not None or self.transport.get_write_buffer_size() > 0


# ---- The architecture: the loop belongs to the library ---------------------------------------------------------------


# loop.create_server() accepts by itself, but tries as often as the backlog is long, also without a free descriptor: 4096
# failures, and as many timers that each start to listen again. So accept(2) is called here.

ACCEPTS = 64  # connections accepted in a row, so that a flood of new ones cannot starve the old ones

welcomes = set()  # tasks: the loop itself does not keep them


def start_accepting(loop, listener):
    if not lab.stopping:
        loop.add_reader(listener, accept_all, loop, listener)


def accept_all(loop, listener):
    """Accepts what waits."""
    for _ in range(ACCEPTS):
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # nobody waits any more
        except ConnectionAbortedError:
            continue  # the peer has gone before it was accepted
        except OSError as error:
            tally.add(error.errno)  # EMFILE, ENFILE: the loop would tell again and again that somebody waits
            loop.remove_reader(listener)
            loop.call_later(lab.PAUSE_S, start_accepting, loop, listener)
            return
        tally.add(lab.ACCEPTED)
        connection.setblocking(False)
        welcome = loop.create_task(loop.connect_accepted_socket(Connection, connection))
        welcomes.add(welcome)
        welcome.add_done_callback(welcomes.discard)


def hear(_number, _frame):
    if lab.stopping:
        os._exit(1)  # the second signal does not wait, not for a turn of the loop either
    lab.stop_soon()


async def see_off():
    """Waits until nothing is in flight any more, or STOP_S are over."""
    loop = asyncio.get_running_loop()
    until, before = loop.time() + lab.STOP_S, None
    while loop.time() < until and (reads != before or any(one.in_flight() for one in connections)):
        before = reads
        await asyncio.sleep(QUIET_S)


async def main():
    options = lab.read_options("python-asyncio")
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    listener = lab.listen_on(options.host, options.port)
    listener.setblocking(False)
    start_accepting(loop, listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)  # in the next turn of the loop, which a signal wakes
        signal.signal(number, hear)  # at once, between two bytecodes
    lab.say_ready("python-asyncio", listener)
    await stop.wait()
    loop.remove_reader(listener)
    listener.close()
    await see_off()
    lab.say_stopped(tally.cells)


asyncio.run(main())
