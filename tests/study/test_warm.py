"""Runs that are forked from a process with everything imported: the same as cold ones, and ended when nobody waits."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corrlib.study import runs, warm
from corrlib.study.reproduce import HEADLESS

pytestmark = pytest.mark.skipif(not warm.can_fork(), reason="runs are forked on Linux alone")
# a fork server of its own, as a process has but one, with this environment
LISTEN = """
import sys
from corrlib.study import warm
if __name__ == "__main__":
    with warm.listening() as address:
        print(address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address, process that listens there, its output)."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORRLIB_RUNS", str(folder / "runs"))
        patch.setenv("CORRLIB_DATA", str(folder / "data"))
        (folder / "listen.py").write_text(LISTEN)
        with open(folder / "output", "w") as output:
            process = subprocess.Popen(
                [sys.executable, str(folder / "listen.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**os.environ, **HEADLESS, **warm.ENVIRONMENT, "PYTHONPATH": os.getcwd()},
            )
            yield process.stdout.readline().strip(), process
            process.stdin.close()
            assert process.wait(20) == 0  # and nothing of it is left
            assert not descendants(process.pid)


def descendants(process):
    """Numbers of the living processes that descend from one, itself left out."""
    found = []
    for number in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            state, parent = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == process and state != "Z":
            found += [number, *descendants(number)]
    return found


def notebooks_in(process):
    """How many of its descendants execute notebooks or are their kernels: all but the fork server and its helper."""
    return len(descendants(process)) - 2


def test_a_run_with_its_figures(server):
    assert warm.ask(server[0], "smoke", "data-seed1") == 0
    assert runs.is_finished("smoke", "data-seed1")
    notebook = json.loads((runs.root() / "smoke" / "data-seed1" / "notebook.ipynb").read_text())
    assert sum("image/png" in out.get("data", {}) for cell in notebook["cells"] for out in cell.get("outputs", [])) >= 3


def test_a_failed_run_is_no_success(server):
    assert warm.ask(server[0], "smoke", "results") == 1  # nothing that it compares was run
    assert not runs.is_finished("smoke", "results")


def test_an_unknown_run_is_no_success(server):
    assert warm.ask(server[0], "smoke", "nothing") == 1


def test_a_run_ends_with_its_requester_and_its_kernel_with_it(server):
    before = notebooks_in(server[1].pid)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server[0])
        connection.sendall(json.dumps(["smoke", "stage1-mn_tiny-seed1"]).encode() + b"\n")
        wait_until(lambda: notebooks_in(server[1].pid) == before + 2)
    wait_until(lambda: notebooks_in(server[1].pid) == before)
    assert not runs.is_finished("smoke", "stage1-mn_tiny-seed1")


def wait_until(met):
    for _ in range(300):
        if met():
            return
        time.sleep(0.05)
    pytest.fail("not within fifteen seconds")


def test_nobody_answers(tmp_path):
    assert warm.ask(str(tmp_path / "nobody"), "smoke", "data-seed1") is None
