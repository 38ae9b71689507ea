"""Processes that end with the one that started them, however that one ended: nothing works on for nobody.

A process that is killed cannot end those that it started, but the system closes its pipes: each waits for that.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import NoReturn

LEASH = "CORRLIB_LEASH"  # in the environment: standard input stays open as long as the process that started this one


def end_with_parent() -> None:
    """From now on this process is killed as soon as the one that started it by multiprocessing has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_after(lambda: wait([parent.sentinel]))


def end_with(main: Callable[[], int]) -> NoReturn:
    """End this process with the exit status that `main` returns; without a word where nobody reads on (`| head`)."""
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be written at the end
        status = 128 + signal.SIGPIPE
    sys.exit(status)


def end_with_input() -> None:
    """From now on this process is killed as soon as its standard input closes, where `leash` says that it tells."""
    if os.environ.pop(LEASH, ""):
        _end_after(lambda: os.read(0, 1))  # of sys.stdin, a thread would hold the lock as this process ends


def leash() -> dict[str, str]:
    """The environment of a process whose standard input is a pipe of this one, for `end_with_input`."""
    return {**os.environ, LEASH: "1"}


def _end_after(waiting: Callable[[], object]) -> None:
    def watch() -> None:
        waiting()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="leash", daemon=True).start()


@contextmanager
def guarded(process: subprocess.Popen, group: bool) -> Iterator[None]:
    """While this lasts, `process` is ended if this process ends, be it by kill -9.

    group: kill it with all of its process group, whose leader it is; else it is interrupted, as by Ctrl-C.
    """
    signal_name, target = ("KILL", f"-{process.pid}") if group else ("INT", str(process.pid))
    guard = subprocess.Popen(
        ["sh", "-c", 'read -r done || kill -s "$1" -- "$2"', "guard", signal_name, target],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it outlives Ctrl-C and what it guards
    )
    try:
        yield
    finally:
        guard.communicate(b"done\n")
