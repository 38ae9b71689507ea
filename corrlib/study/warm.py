"""Runs without a cold start: each is forked from one process that has imported everything, and its kernel from it.

Importing takes seven seconds of a core for a run and its kernel: the smoke study's 30 runs took 83 CPU seconds where
they were forked, and 303 where they were not (means of two, in turns, on a busy machine of two cores). Of the built-in
study's 44 runs that is a fifth of the time on two cores.

The process is multiprocessing's fork server. It forks for those alone that descend from the process that asked for it,
and Snakemake's jobs do not; so `reproduce` listens at a socket and asks on their behalf. The Snakefile calls
`python -m corrlib.study.warm STUDY RUN`. Where CORRLIB_WARM names no such socket, as on another node of a cluster, this
does the run by itself.
"""

import json
import multiprocessing
import os
import signal
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import wait

# A forked process can use CUDA only if its parent never asked the driver anything; the fork server only imports, and
# what asks on import asks NVML. The backend that puts figures into notebooks is named here, but not imported: it looks
# for its kernel when it is.
ENVIRONMENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
PRELOADED = [  # without corrlib.study.reproduce, which forked processes run again as their parent's main module
    "corrlib.study.plan",
    "papermill",
    "scipy.stats",
    "scipy.signal",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "seaborn",
    "corrlib.study.kernels",
    "transformers.models.roberta.modeling_roberta",
    "corrlib.explore",
    "corrlib.figures",
    "corrlib.reports.single_run",
    "corrlib.reports.surveys",
    "corrlib.reports.ensembles",
    "corrlib.training.stages",
]
LONGEST_FOLDER = 60  # characters: a socket's path has at most 107, on some systems 103


def can_fork() -> bool:
    """Whether runs may be forked: on macOS its libraries do not survive it, and elsewhere there is no fork at all."""
    return sys.platform == "linux"


@contextmanager
def socket_folder() -> Iterator[str]:
    """A folder for sockets (files here, so that no ports clash): a short one where TMPDIR is too long for them."""
    folder = tempfile.gettempdir()
    short = "/tmp" if len(folder) > LONGEST_FOLDER and os.path.isdir("/tmp") else folder
    with tempfile.TemporaryDirectory(prefix="corrlib-", dir=short) as sockets:
        yield sockets


@contextmanager
def listening() -> Iterator[str]:
    """The address of a Unix socket at which `ask` has runs done, by this process's fork server.

    Environment and working folder of the runs are those that this process has when the first one is asked for.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process, which then ends them all
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    with socket_folder() as folder, _Server(f"{folder}/warm", _Request) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{folder}/warm"
        finally:
            server.shutdown()


class _Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128


class _Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """A forked run for as long as its requester is there, and the exit status of it."""
        study, run = json.loads(self.rfile.readline())
        process = multiprocessing.get_context("forkserver").Process(target=_run_and_exit, args=(study, run), name=run)
        process.start()
        if self.connection in wait([process.sentinel, self.connection]):  # closed: killed or interrupted
            process.kill()
        process.join()
        if process.exitcode is not None and process.exitcode >= 0:
            self.wfile.write(str(process.exitcode).encode())


def _run_and_exit(study: str, run: str) -> None:
    """What a forked process does."""
    from corrlib.processes import end_with_parent
    from corrlib.study.kernels import ForkedKernel
    from corrlib.study.reproduce import execute  # which imports this file

    kernel = ForkedKernel()
    kernel.start()
    end_with_parent()
    try:
        status = execute(study, run, kernel)
    finally:
        kernel.kill()
    sys.exit(status)


def ask(address: str, study: str, run: str) -> int | None:
    """Have a run done by the process that listens at `address`; its exit status, or None where nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return None
        connection.sendall(json.dumps([study, run]).encode() + b"\n")
        answer = connection.recv(16)
        return int(answer) if answer else 1


def main() -> int:
    """The run that the command line names; returns an exit status."""
    study, run = sys.argv[1:3]
    address = os.environ.get("CORRLIB_WARM")
    status = ask(address, study, run) if address else None
    if status is None:
        from corrlib.study.reproduce import execute

        status = execute(study, run)
    return status


if __name__ == "__main__":
    sys.exit(main())
