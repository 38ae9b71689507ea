"""Runs forked from a process that has everything imported: the same as cold ones, and ended when nobody waits for
them.
"""

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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address, process) of a warm process."""
    address = str(tmp_path_factory.mktemp("w") / "warm")
    process = subprocess.Popen(
        [sys.executable, "-m", "corrlib.study.warm", "--serve", address],
        stdin=subprocess.PIPE,
        env={**os.environ, **HEADLESS},
    )
    while not os.path.exists(address):
        assert process.poll() is None
        time.sleep(0.02)
    yield address, process
    process.communicate()
    assert process.returncode == 0  # it ends when its standard input is closed


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def test_a_run_with_its_figures(server, capfd):
    assert warm.ask(server[0], "smoke", "data-seed1") == 0
    assert runs.is_finished("smoke", "data-seed1") and "[data-seed1] done in" in capfd.readouterr().out
    notebook = json.loads((runs.root() / "smoke" / "data-seed1" / "notebook.ipynb").read_text())
    assert sum("image/png" in out.get("data", {}) for cell in notebook["cells"] for out in cell.get("outputs", [])) >= 3


def test_a_failed_run_is_no_success(server, capfd):
    assert warm.ask(server[0], "smoke", "stage1-mn_tiny-seed1") == 1  # its corpus was never composed
    assert "[stage1-mn_tiny-seed1] failed" in capfd.readouterr().out


def test_an_unknown_run_is_no_success(server, capfd):
    assert warm.ask(server[0], "smoke", "nothing") == 1 and "nothing" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up in /proc")
def test_a_run_ends_with_its_requester(server):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server[0])
        asked = {"study": "smoke", "run": "data-seed1", "environment": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(connection, [json.dumps(asked).encode() + b"\n"], [1, 2])
        time.sleep(1)
        assert children(server[1])
    for _ in range(100):
        if not [c for c in children(server[1]) if "Z" not in Path(f"/proc/{c}/stat").read_text().split(")")[1][:3]]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the run goes on though nobody waits for it")
    assert not runs.is_finished("smoke", "data-seed1")


def test_nobody_answers(tmp_path):
    assert warm.ask(str(tmp_path / "nobody"), "smoke", "data-seed1") is None
