"""Runs without a cold start: one process that has imported everything forks a child, and its kernel, for every run.

`python -m corrlib.study.warm STUDY RUN` is what the Snakefile calls. Where CORRLIB_WARM names the socket of such a
process (`reproduce` starts one) the run happens in its child; else, as on another node of a cluster, in this process.
"""

import json
import os
import select
import socket
import sys
import threading

PRELOADED = (
    "corrlib.study.reproduce",
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
)
# A forked process can use CUDA only if its parent never asked the driver anything. The backend that puts figures into
# notebooks is named here, but not imported: it looks for its kernel when it is.
ENVIRONMENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def serve(address):
    """Fork a child for every request at the Unix socket `address`, until standard input is closed."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(128)  # requests wait while this imports
        os.environ.update(ENVIRONMENT)
        for name in PRELOADED:
            __import__(name)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _run_and_exit(connection)
            connection.close()
            _reap()


def _run_and_exit(connection):
    """The requested run, in a forked child, with the requester's standard output and error; never returns."""
    status = 1
    try:
        from corrlib.study.kernels import ForkedKernel
        from corrlib.study.reproduce import execute

        asked = _receive(connection)
        os.environ.clear()
        os.environ.update({**asked["environment"], **ENVIRONMENT})
        os.chdir(asked["folder"])
        kernel = ForkedKernel()
        threading.Thread(target=_end_with, args=(connection, kernel), daemon=True).start()
        status = execute(asked["study"], asked["run"], kernel)
        sys.stdout.flush()
        connection.sendall(str(status).encode())
    except BaseException as error:  # a child must never return into the server's loop
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _receive(connection):
    """A request; this process's output becomes the requester's."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    while not message.endswith(b"\n"):
        message += connection.recv(1 << 16)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return json.loads(message)


def _end_with(connection, kernel):
    """End this run when its requester is gone (killed or interrupted)."""
    if connection.recv(1) == b"":
        kernel.kill()
        os._exit(1)


def _reap():
    """Collect children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def ask(address, study, run):
    """Have a run done by the process at `address`; its exit status, or None where nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return None
        message = {"study": study, "run": run, "environment": dict(os.environ), "folder": os.getcwd()}
        text = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(connection, [text], [1, 2])
        connection.sendall(text[sent:])
        answer = connection.recv(16)
        return int(answer) if answer else 1


def main():
    if sys.argv[1] == "--serve":
        return serve(sys.argv[2])
    study, run = sys.argv[1:3]
    address = os.environ.get("CORRLIB_WARM")
    status = ask(address, study, run) if address else None
    if status is None:
        from corrlib.study.reproduce import execute

        status = execute(study, run)
    return status


if __name__ == "__main__":
    sys.exit(main())
