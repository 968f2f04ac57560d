"""Short programs with the faults that listings of servers often have, each beside its cure.

python3 listings.py pool|late-reader|length|sleep NUMBER…   prints one line of JSON: rows of variant, metric and value.
"""

import asyncio
import http.client
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque

READ_BYTES = 4096
RECEIVE_BUFFER_BYTES = 65536
PATIENCE_S = 10  # of every socket: no program outlives its fault
POLL_S = 0.01
REQUEST_PATH = "/"
BODY = b"Hello World"
BARE = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
FRAMED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def row(variant, metric, value):
    return {"variant": variant, "metric": metric, "value": value}


# A pool of connections.


class LockedPool:
    """Waits for a free item with the lock in its hands that `release` needs."""

    def __init__(self, size):
        self.size = size
        self.made = 0
        self.free = deque()
        self.lock = asyncio.Lock()

    async def acquire(self):
        async with self.lock:
            if not self.free and self.made < self.size:
                self.made += 1
                return self.made
            while not self.free:
                await asyncio.sleep(POLL_S)
            return self.free.popleft()

    async def release(self, item):
        async with self.lock:
            self.free.append(item)


class ConditionPool(LockedPool):
    """Gives the lock away while it waits."""

    def __init__(self, size):
        super().__init__(size)
        self.changed = asyncio.Condition(self.lock)

    async def acquire(self):
        async with self.changed:
            if not self.free and self.made < self.size:
                self.made += 1
                return self.made
            await self.changed.wait_for(lambda: self.free)
            return self.free.popleft()

    async def release(self, item):
        async with self.changed:
            self.free.append(item)
            self.changed.notify()


async def fill_and_ask_for_one_more(variant, pool, wait_s):
    items = [await pool.acquire() for _ in range(pool.size)]
    started = time.monotonic()
    one_more = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)  # it runs until it waits
    releases = [asyncio.create_task(pool.release(item)) for item in items]
    await asyncio.wait([one_more, *releases], timeout=wait_s)
    waited_s = time.monotonic() - started
    rows = [
        row(variant, "acquired", pool.size + one_more.done()),
        row(variant, "released", sum(task.done() for task in releases)),
        row(variant, "waited_s", waited_s),
    ]
    for task in (one_more, *releases):
        task.cancel()
    await asyncio.gather(one_more, *releases, return_exceptions=True)
    return rows


async def pool(size, wait_s):
    size = int(size)
    return [
        *await fill_and_ask_for_one_more("pool, lock held", LockedPool(size), wait_s),
        *await fill_and_ask_for_one_more("pool, condition", ConditionPool(size), wait_s),
    ]


# An echo server over select(2) with sockets that do not block.


def echo_with_sendall(connection):
    """Sends with sendall(2) and keeps what it could not send, but never tries again."""
    kept = bytearray()
    while True:
        select.select([connection], [], [], PATIENCE_S)
        data = connection.recv(READ_BYTES)
        if not data:
            return
        try:
            connection.sendall(data)
        except BlockingIOError:
            kept += data  # a part of it may have left already: sendall does not say how much


def echo_with_rest(connection):
    """Keeps what did not fit and sends it when the socket can take more."""
    rest = bytearray()
    ended = False
    while not ended or rest:
        reading = [] if ended else [connection]
        readable, writable, _ = select.select(reading, [connection] if rest else [], [], PATIENCE_S)
        if not readable and not writable:
            raise TimeoutError("the client neither reads nor writes")
        if readable:
            data = connection.recv(READ_BYTES)
            ended = not data
            rest += data
        if rest:
            try:
                sent = connection.send(rest)
            except BlockingIOError:
                sent = 0
            del rest[:sent]


def late_reader(variant, echo, size):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            echo(connection)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    wanted = b"".join(number.to_bytes(8, "big") for number in range(size // 8))
    client = socket.socket()
    with listener, client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        client.settimeout(PATIENCE_S)
        client.connect(listener.getsockname())
        started = time.monotonic()
        client.sendall(wanted)
        client.shutdown(socket.SHUT_WR)  # from here on it reads
        echoed = bytearray()
        while chunk := client.recv(1 << 16):
            echoed += chunk
        took_s = time.monotonic() - started
        server.join(PATIENCE_S)
    whole = os.path.commonprefix([wanted, bytes(echoed)])
    return [
        row(variant, "sent_bytes", len(wanted)),
        row(variant, "lost_bytes", len(wanted) - len(echoed)),
        row(variant, "right_bytes", len(whole)),
        row(variant, "took_s", took_s),
    ]


def late_readers(*sizes_mib):
    rows = []
    for mib in map(int, sizes_mib):
        rows += late_reader(f"late reader {mib} MiB, sendall", echo_with_sendall, mib << 20)
        rows += late_reader(f"late reader {mib} MiB, rest kept", echo_with_rest, mib << 20)
    return rows


# Answers with and without Content-Length.


def serve_epoll(listener, answer):
    """Answers every request and leaves the connection open."""
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    connections = {}
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == listener.fileno():
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                poller.register(connection, select.EPOLLIN)
                continue
            connection = connections[descriptor]
            if connection.recv(READ_BYTES):
                connection.sendall(answer)
            else:
                poller.unregister(descriptor)
                connections.pop(descriptor).close()


def serve_prefork(listener, answer):
    """A worker process that answers once on each connection and closes it."""
    worker = os.fork()
    if worker > 0:
        return worker
    listener.settimeout(PATIENCE_S)  # it ends by itself, whatever became of its parent
    try:
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(READ_BYTES):
                    connection.sendall(answer)
    finally:
        os._exit(0)


def start(serve, answer):
    """The listener, and the worker process where there is one."""
    listener = socket.create_server(("127.0.0.1", 0))
    if serve is serve_prefork:
        return listener, serve(listener, answer)
    threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
    return listener, None


def ask(variant, serve, answer, requests, wait_s):
    """Asks so many times on connections that are kept where the server lets it."""
    listener, worker = start(serve, answer)
    client = http.client.HTTPConnection(*listener.getsockname(), timeout=wait_s)
    answered = 0
    connects = 0
    longest_s = 0.0
    for _ in range(requests):
        connects += client.sock is None
        started = time.monotonic()
        try:
            client.request("GET", REQUEST_PATH)
            answered += client.getresponse().read() == BODY
        except TimeoutError:
            client.close()
        longest_s = max(longest_s, time.monotonic() - started)
    client.close()
    if worker is not None:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    return [
        row(variant, "requests", requests),
        row(variant, "answered", answered),
        row(variant, "connects", connects),
        row(variant, "longest_s", longest_s),
    ]


def length(requests, wait_s):
    requests = int(requests)
    return [
        *ask("epoll, no length", serve_epoll, BARE, requests, wait_s),
        *ask("epoll, length", serve_epoll, FRAMED, requests, wait_s),
        *ask("prefork, no length", serve_prefork, BARE, requests, wait_s),
    ]


# Clients that sleep in their connection.


async def talk(port, pause_s):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(pause_s)
    writer.write(b"hello")
    await writer.drain()
    answer = await reader.read(READ_BYTES)
    writer.close()
    await writer.wait_closed()
    return answer == b"hello"


async def echo_once(reader, writer):
    writer.write(await reader.read(READ_BYTES))
    await writer.drain()
    writer.close()


async def crowd(variant, clients, pause_s):
    server = await asyncio.start_server(echo_once, "127.0.0.1", 0, backlog=clients)
    port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    answers = await asyncio.gather(*(talk(port, pause_s) for _ in range(clients)))
    took_s = time.monotonic() - started
    server.close()
    return [row(variant, "clients", clients), row(variant, "answered", sum(answers)), row(variant, "took_s", took_s)]


async def sleep(clients, pause_s):
    clients = int(clients)
    return [
        *await crowd("clients, sleep", clients, pause_s),
        *await crowd("clients, no sleep", clients, 0),
    ]


def main():
    name, *numbers = sys.argv[1:]
    programs = {"pool": pool, "late-reader": late_readers, "length": length, "sleep": sleep}
    found = programs[name](*map(float, numbers))
    print(json.dumps(asyncio.run(found) if asyncio.iscoroutine(found) else found))


main()
