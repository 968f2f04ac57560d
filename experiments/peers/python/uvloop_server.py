"""The server of asyncio_server.py on uvloop: the loop of libuv, written in Cython, in place of asyncio's own."""

import asyncio_server
import uvloop

uvloop.run(asyncio_server.main("python-uvloop"))
