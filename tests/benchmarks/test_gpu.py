"""The check of a GPU: rehearsed at tiny sizes on a CPU, with a bare machine's packages; how parts are kept apart."""

import csv
import importlib.metadata as metadata
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from corrlib.benchmarks.gpu import __main__ as gpu
from corrlib.benchmarks.gpu.fast import idle_share
from corrlib.benchmarks.gpu.parts import AGAIN, LIMITS
from corrlib.benchmarks.gpu.rows import at_least, at_most, holds, line, row

ROOT = Path(__file__).parents[2]
THERE = ("torch", "torchaudio", "transformers", "numpy", "pandas", "safetensors", "pip", "setuptools")
CARRIED = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "soundfile", "cffi", "hear21passt")
REFUSING = """
import importlib.machinery as machinery
usual = machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {names} else usual(name, path, target)
machinery.PathFinder.find_spec = find_spec
"""


def known(name):
    return name.lower().replace("_", "-")


def on_a_bare_machine():
    """Names of the distributions there: some, with what they need, and what is carried, alone."""
    found, waiting = {known(name) for name in CARRIED}, list(THERE)
    while waiting:
        name = waiting.pop()
        if known(name) in found:
            continue
        found.add(known(name))
        try:
            needs = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment in which nothing else can be imported, in no process that is started there."""
    folder, there = tmp_path_factory.mktemp("bare"), on_a_bare_machine()
    tops = metadata.packages_distributions().items()
    refused = {top for top, owners in tops if not {known(owner) for owner in owners} & {*there, "corrlib"}}
    assert {"papermill", "snakemake", "matplotlib", "scipy", "sklearn", "IPython", "pytest"} <= refused
    (folder / "sitecustomize.py").write_text(REFUSING.format(names=repr(sorted(refused))))
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_every_part_is_rehearsed_on_a_bare_machine(bare, tmp_path):
    refused = subprocess.run([sys.executable, "-c", "import scipy"], env=bare, capture_output=True, text=True)
    assert "No module named 'scipy'" in refused.stderr
    command = [sys.executable, "-m", "corrlib.benchmarks.gpu", "--device", "cpu", "--out", tmp_path / "out"]
    result = subprocess.run([*command, "--minutes", "30"], env=bare, capture_output=True, text=True, cwd=tmp_path)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert result.returncode == 0, result.stdout + result.stderr + log[-3000:]
    events = [json.loads(text) for text in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {e["part"]: e["state"] for e in events if "state" in e} == dict.fromkeys(LIMITS, "done")
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["part"] for r in rows} == set(LIMITS) and len(rows) == sum("what" in e for e in events)
    found = {(r["part"], r["what"]): r for r in rows}
    assert not [r for r in rows if r["passed"] == "False"]
    if find_spec("hear21passt"):  # of the extra `benchmark`
        assert float(found["usual", "times as fast as hear21passt"]["value"]) > 0
    assert float(found["training", "training, segments a second"]["value"]) > 0
    assert all(part in result.stdout for part in LIMITS)


def test_without_a_gpu_it_says_so(tmp_path):
    hidden = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "corrlib.benchmarks.gpu", "--out", tmp_path, "--only", "machine"]
    result = subprocess.run(command, env=hidden, capture_output=True, text=True)
    assert (
        result.returncode == 1 and "torch finds no GPU here; to rehearse on the CPU, add --device cpu" in result.stdout
    )


WORKER = """
import json, os, subprocess, sys, time
def say(**event): print(json.dumps(event), flush=True)
for part in sys.argv[1:]:
    say(begin=part)
    say(row={"what": "x", "value": 1, "unit": "", "bar": "", "passed": None, "note": ""})
    if part == "vectors":
        subprocess.Popen([sys.executable, "-S", "-c", LAUNCHER])
        time.sleep(60)
    if part == "training":
        os._exit(9)
    if part == "usual":
        say(end="failed: ValueError: no", seconds=0.1)
        continue
    say(end="done", seconds=0.1)
    if part == "waiting":
        sys.exit(AGAIN)
"""


# as torchrun does: what it starts is in a session of its own, and is ended by it
LAUNCHER = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True)
open({left!r}, "w").write(str(child.pid))
def end(*_):
    child.kill()
    child.wait()
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
time.sleep(60)
"""


class Pretended(gpu.Check):
    """Parts that hang, die, fail, or lose the GPU."""

    def command(self):
        return [sys.executable, "-S", "-c", self.program(), *self.waiting]

    def program(self):
        launcher = LAUNCHER.format(left=str(self.out / "left"))
        return WORKER.replace("AGAIN", str(AGAIN)).replace("LAUNCHER", repr(launcher))


def test_a_part_that_hangs_dies_or_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "LIMITS", dict.fromkeys(LIMITS, 2))
    names = ["machine", "vectors", "training", "usual", "waiting", "study"]
    check = Pretended(tmp_path, list(names), 1.0, [], "cpu")
    assert not check.run()
    assert check.states == {
        "machine": "done",
        "vectors": "stopped after 2 s",
        "training": "its process ended with status 9",
        "usual": "failed: ValueError: no",
        "waiting": "done",
        "study": "done",
    }
    assert [found["part"] for found in check.rows] == names  # written before it went wrong
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "left").read_text()), 0)
    said = capsys.readouterr().out
    assert "vectors: stopped after 2 s" in said and f"everything is in {tmp_path}" in said


def test_where_the_time_is_over_the_rest_is_said_not_to_be_reached(tmp_path):
    check = Pretended(tmp_path, ["vectors", "machine"], 2 / 60, [], "cpu")
    assert not check.run() and check.states == {"vectors": "out of time", "machine": "not reached"}


def test_bars():
    assert at_most("x", 1.0, 1.0)["passed"] and not at_most("x", 1.1, 1.0)["passed"]
    assert not at_most("x", float("nan"), 1.0)["passed"] and not at_least("x", float("nan"), 1.0)["passed"]
    assert at_least("x", 2, 1)["passed"] and not holds("x", False)["passed"] and row("x", 3)["passed"] is None
    assert line(at_most("x", 0.5, 1.0, "GiB", "why")) == "ok     x: 0.5 GiB (<= 1) - why"


def test_idle_is_what_no_span_covers():
    assert idle_share([(0, 4), (2, 3), (6, 10)]) == pytest.approx(0.2) and idle_share([(5, 9), (0, 5)]) == 0
