"""
Runs the cells of a notebook in a kernel that run.ts starts and ends, over nbclient.

Its one argument is JSON: {"notebook": path, "kernelspec": {...}, "cell_timeout_s": 600}. It says one JSON object a line: first
{"connection": path}, with the file that the kernel is to be started with; at each cell {"cell": index}; at last
{"notebook": text of the executed notebook} or {"failed": why}. It ends when its standard input does.
"""
import asyncio
import json
import os
import sys
import tempfile
import threading
from queue import Empty
from types import SimpleNamespace

import nbformat
from jupyter_client import AsyncKernelClient
from jupyter_client.connect import write_connection_file
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, CellTimeoutError

START_S = 60  # a cold start on a busy machine
QUIET_S = 0.2  # the Deno kernel says idle before its last outputs: a cell is over when nothing came for so long after it
NOISE_S = 10  # how long after its end a cell may go on to show things
VOLATILE = ("ExecuteTime", "collapsed", "execution", "scrolled", "trusted")  # what says how a reader left a cell


def say(**event):
    print(json.dumps(event), flush=True)


def end_with_parent():
    sys.stdin.read()
    os._exit(1)


class Kernel(AsyncKernelClient):
    async def is_alive(self):
        return True  # if it ends, run.ts ends this process


class Runner(NotebookClient):
    async def async_execute_cell(self, cell, cell_index, *args, **more):
        say(cell=cell_index)
        if cell.cell_type == "code":  # others have no count
            cell.execution_count = None
        return await super().async_execute_cell(cell, cell_index, *args, **more)

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        idle = False
        while True:
            try:
                message = await self.kc.get_iopub_msg(timeout=QUIET_S if idle else None)
            except Empty:
                return
            if message["parent_header"].get("msg_id") != parent_msg_id:
                continue
            try:
                self.process_message(message, cell, cell_index)
            except CellExecutionComplete:
                idle = True


async def execute(notebook, cell_timeout_s):
    kernel = Kernel()
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write_connection_file(os.path.join(folder, "connection.json"))
        kernel.load_connection_file(path)
        say(connection=path)
        kernel.start_channels()
        await kernel.wait_for_ready(timeout=START_S)
    started = SimpleNamespace(has_kernel=True)  # so that nbclient neither starts nor ends one
    limits = {"timeout": cell_timeout_s, "iopub_timeout": NOISE_S, "raise_on_iopub_timeout": True}
    runner = Runner(notebook, km=started, record_timing=False, coalesce_streams=True, **limits)
    runner.kc = kernel
    kernel.allow_stdin = False
    await runner.async_execute()


def tidy(notebook, kernelspec):
    notebook.metadata.kernelspec = kernelspec
    notebook.metadata.language_info.pop("version", None)
    for cell in notebook.cells:
        for name in VOLATILE:
            cell.metadata.pop(name, None)


def main(order):
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        notebook = nbformat.read(order["notebook"], nbformat.NO_CONVERT)
        asyncio.run(execute(notebook, order["cell_timeout_s"]))
        tidy(notebook, order["kernelspec"])
        nbformat.validate(notebook)
        say(notebook=nbformat.writes(notebook) + "\n")
    except CellExecutionError as error:
        say(failed=f"{error.ename}: {error.evalue}")
    except CellTimeoutError:
        say(failed=f"Not done after {order['cell_timeout_s']} s, or not quiet {NOISE_S} s after its end.")
    except Exception as error:  # whatever it is, it is told as the failure
        say(failed=f"{type(error).__name__}: {error}")


main(json.loads(sys.argv[1]))
