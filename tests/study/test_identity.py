"""Exactly the runs that depend on a change are made again: the smoke study's graph, with a stand-in for notebooks.

The stand-in writes what a run's inputs determine and reads the runs that its notebook would read. Which runs must be
made again is worked out beside, from the graph alone.
"""

import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import corrlib
from corrlib import soundscapes
from corrlib.files import digest
from corrlib.study import code, identity, runs, why
from corrlib.study.inputs import PLACES
from corrlib.study.parameters import KINDS, ParameterError, check
from corrlib.study.plan import plan_runs
from tests.finished import finish_run

SIZES = {"pretraining": 3, "development": 4, "validation": 2, "evaluation": 3}
CHANGES = 48
SUMMARIES = ("results", "ablation", "tasks", "explore")
NUMBERS = ("learning_rate", "temperature", "weight_decay", "epochs", "batch_clips", "resamples")


class Study:
    """The smoke study's plans, their stand-in, and what was made in the last round."""

    name = "smoke"

    def __init__(self):
        self.plans = plan_runs(self.name)
        self.folder = Path(self.plans["data-seed1"].parameters["data"])
        soundscapes.write_corpus(self.folder, 1, SIZES, workers=1)
        self.made = []

    def reads(self, plan):
        """Names of the runs that a plan's notebook reads."""
        if plan.kind in SUMMARIES:
            return [name for name in plan.needs if self.plans[name].kind in ("stage1", "stage2")]
        p = plan.parameters
        return [*([p["student"]] if "student" in p else []), *p.get("teachers", [])]

    def make(self, plan):
        """What a notebook does, as far as identity goes: begin, read, write, finish."""
        notebook = Path(plan.notebook).stem
        runs._read.clear()
        runs._listed.clear()
        run = runs.Run(check(KINDS[plan.kind], plan.parameters), notebook)
        for name in self.reads(plan):
            runs.read_metrics(self.name, name)
        if plan.kind == "results":
            runs.gather(self.name)
        parameters = {k: v for k, v in plan.parameters.items() if k not in PLACES}
        run.write_json("metrics.json", {"result": digest([parameters, run.made_of()])})
        training = plan.kind in ("stage1", "stage2")
        run.finish(setting="s" if training else "", backbone="b" if training else "")

    def bring_up_to_date(self):
        """As reproduce does, one run after the other; the runs that were made."""
        self.made = []
        todo = identity.with_dependants(self.plans, identity.stale(self.name, self.plans))
        known = {}
        for name in todo:
            if identity.reasons(self.name, self.plans[name], known):
                self.make(self.plans[name])
                self.made.append(name)
                known = known if self.plans[name].kind != "data" else {}
        assert identity.stale(self.name, self.plans) == {}
        return set(self.made)

    def expected(self, direct, content=True):
        """The runs that must be made again: those changed and, if their content becomes another, their readers."""
        again = set(direct)
        for name, plan in self.plans.items() if content else ():
            if again & set(self.reads(plan)):
                again.add(name)
        return again


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    patch = pytest.MonkeyPatch()
    patch.setenv("CORRLIB_RUNS", str(folder / "runs"))
    patch.setenv("CORRLIB_DATA", str(folder / "data"))
    patch.setattr(corrlib, "SOURCES", dict(corrlib.SOURCES))
    patch.setattr(code, "on_disk", lambda: corrlib.SOURCES)
    patch.setattr(runs, "commit", lambda: {"commit": None, "dirty": None})  # which asks git twice a run
    study = Study()
    assert study.bring_up_to_date() == set(study.plans)
    yield study
    patch.undo()


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    """Every run here is one that a plan wants."""
    monkeypatch.setattr(runs.Run, "_refuse_to_replace", lambda self: None)


def imports_of(notebook):
    """Modules that a notebook needs, found by searching for words: beside what corrlib.study.code does with syntax."""
    found, waiting = set(), [Path(f"notebooks/{notebook}.ipynb").read_text().replace("\\n", "\n").replace('"', " ")]
    while waiting:
        text = waiting.pop()
        for line in re.findall(r"^\s*from (corrlib[\w.]*) import ([^\n]*(?:\((?:[^)]*)\))?)", text, re.M):
            names = re.findall(r"\w+", line[1])
            if "(" in line[1] or line[1].strip() == "(":
                block = text.split(f"from {line[0]} import {line[1]}", 1)[1].split(")", 1)[0]
                names += re.findall(r"\w+", block)
            for name in (line[0], *(f"{line[0]}.{n}" for n in names)):
                path = name.removeprefix("corrlib").strip(".").replace(".", "/")
                for file in (f"{path}.py", f"{path}/__init__.py", f"{path.split('/')[0]}/__init__.py"):
                    if file in corrlib.SOURCES and file not in found:
                        found.add(file)
                        waiting.append(corrlib.SOURCES[file].decode())
    return found


def runs_of_module(study, file):
    """Runs whose notebook imports a module, but for what only draws what a training run has computed."""
    name = f"corrlib.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
    drawing = any(f"{name}.".startswith(f"{place}.") for place in code.DRAWING)
    found = set()
    for plan in study.plans.values():
        notebook = Path(plan.notebook).stem
        if file in imports_of(notebook) and not (drawing and notebook[:2] in code.COMPUTING):
            found.add(plan.name)
    return found


def flip(path, draw):
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


READERS = ("data", "stage1", "stage2", "estimate")


def a_parameter(study, draw):
    name = draw.choice([n for n, p in study.plans.items() if set(NUMBERS) & set(p.parameters)])
    plan = study.plans[name]
    key = draw.choice([k for k in NUMBERS if k in plan.parameters])
    changed = {**plan.parameters, key: plan.parameters[key] + (1 if isinstance(plan.parameters[key], int) else 0.001)}
    if "epochs" in changed:
        changed["warmup_epochs"] = 0.5
    study.plans[name] = replace(plan, parameters=changed)
    return {name}, True


def a_line_of_code(study, draw):
    modules = ("training/losses.py", "training/trainer.py", "correspondence/targets.py", "evaluation/metrics.py")
    file = draw.choice([*modules, "reports/results.py", "figures/style.py", "models/passt.py", "corpora/audio.py"])
    corrlib.SOURCES[file] += f"\nCHANGED_{draw.randrange(10**9)} = True\n".encode()
    return runs_of_module(study, file), True


def a_comment(study, draw):
    file = draw.choice(["training/losses.py", "models/passt.py", "study/runs.py"])
    corrlib.SOURCES[file] += b"\n\n\n# only words\n"
    return set(), False


def a_caption(study, draw):
    path = study.folder / f"clotho_captions_{draw.choice(list(SIZES))}.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1] + f" softly {draw.randrange(10**9)}"
    path.write_text("\n".join(lines) + "\n")
    return {n for n, p in study.plans.items() if p.kind in READERS}, True


def a_sample(study, draw):
    path = draw.choice(sorted(study.folder.rglob("*.wav")))
    content = bytearray(path.read_bytes())
    content[draw.randrange(44, len(content))] ^= 1
    path.write_bytes(bytes(content))
    return {n for n, p in study.plans.items() if p.kind in READERS}, True


def a_bit(study, draw):
    name = draw.choice(list(study.plans))
    flip(runs.root() / study.name / name / draw.choice(["metrics.json", "metrics.json", "manifest.json"]), draw)
    return {name}, False


def a_teachers_seed(study, draw):
    name = draw.choice([n for n, p in study.plans.items() if p.kind == "stage1"])
    plan = study.plans[name]
    changed = {**plan.parameters, "initialisation": plan.parameters["initialisation"] + 1}
    study.plans[name] = replace(plan, parameters=changed)
    return {name}, True


def times(study, draw):
    for path in draw.sample(sorted(runs.root().rglob("*.json")), 5):
        path.touch()
    return set(), False


KINDS_OF_CHANGE = (a_parameter, a_line_of_code, a_comment, a_caption, a_sample, a_bit, a_teachers_seed, times)


@pytest.mark.parametrize("number", range(CHANGES))
def test_exactly_what_depends_on_a_change_is_made_again(smoke, number):
    draw = random.Random(number)
    change = KINDS_OF_CHANGE[number % len(KINDS_OF_CHANGE)]
    direct, content = change(smoke, draw)
    again, expected = smoke.bring_up_to_date(), smoke.expected(direct, content)
    assert again == expected, f"{change.__name__}: {sorted(again ^ expected)}"


def test_a_start_that_does_nothing_loses_nothing_and_other_parameters_are_refused(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    values = {"study": "scratch", "figures": "f"}
    runs.start(KINDS["results"], "12_results", values).finish()
    before = (tmp_path / "scratch" / "results" / "manifest.json").read_bytes()
    runs.start(KINDS["results"], "12_results", values)
    runs.start(KINDS["results"], "12_results", values).let_go()  # the cell run again in one kernel
    assert (tmp_path / "scratch" / "results" / "manifest.json").read_bytes() == before
    with pytest.raises(ParameterError, match="resamples was 2000, is 100.*a name of its own"):
        runs.start(KINDS["results"], "12_results", {**values, "resamples": 100})
    run = runs.start(KINDS["results"], "12_results", values)
    run.write_json("metrics.json", {})
    assert not runs.is_finished("scratch", "results")
    run.let_go()


def test_code_edited_while_a_run_goes_on_is_said_and_the_run_is_of_the_code_before(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    run = runs.start(KINDS["results"], "12_results", {"study": "s"})
    before = run.code
    edited = {**corrlib.SOURCES, "evaluation/metrics.py": b"EDITED = 1\n"}
    monkeypatch.setattr(code, "on_disk", lambda: edited)
    run.finish()
    content = runs.read_manifest("s", "results")
    assert "was edited while this run went on" in capsys.readouterr().out
    assert content["made_of"]["code"] == before["fingerprint"] and content["code"]["edited_meanwhile"]


def test_what_training_loads_is_its_code():
    """No module is loaded by a way that the fingerprint does not see."""
    ask = (
        "import sys, corrlib.training.stages, corrlib.training.worker; from corrlib.models import *; "
        "print(*[m for m in sys.modules if m.startswith('corrlib.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    closure = code._closure(code.TRAINING, corrlib.SOURCES, ())
    assert len(loaded) > 30 and set(loaded) <= closure


def test_a_manifest_that_is_a_folder_is_named_before_the_run_begins(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    path, parameters = tmp_path / "s" / "results" / "manifest.json", check(KINDS["results"], {"study": "s"})
    path.mkdir(parents=True)
    with pytest.raises(ParameterError, match="results/manifest.json is a folder, .* remove it"):
        runs.Run(parameters, "12_results")
    path.rmdir()
    runs.Run(parameters, "12_results").finish()
    assert runs.read_manifest("s", "results")["finished"][:2] == "20"


@pytest.mark.parametrize("content", [b'{"cells": [', b"", b"[]", b'{"cells": 3}', b'{"cells": [{}]}', b"\xff"])
def test_a_notebook_that_is_none_is_named(tmp_path, monkeypatch, content):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "12_results.ipynb").write_bytes(content)
    monkeypatch.setattr(corrlib, "HOME", tmp_path / "corrlib")
    for call in (lambda: code.fingerprints("12_results"), lambda: code.hand_on(["12_results"])):
        with pytest.raises(ParameterError, match="12_results.ipynb is damaged or no notebook .*; restore it") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert code.edited("12_results", {})


@pytest.mark.parametrize(
    "line",
    ["%run other.py", "!cp other.py corrlib/x.py", "x = !ls", "%env A=1", "if 1:\n    %run other.py", "%%bash\nls -l"],
)
def test_what_only_ipython_understands_is_code(line):
    def notebook(*cells):
        cells = [{"cell_type": "code", "metadata": {}, "source": cell} for cell in cells]
        return code._cells(json.dumps({"cells": cells}).encode())

    fingerprints = {
        code.closure_fingerprint((), {}, cells=notebook(*cells))
        for cells in ([], ["x = 1"], ["x = 1", line], ["x = 1", f"{line}2"], ["x = 1", f"{line}\n2"])
    }
    assert len(fingerprints) == 5
    assert notebook("x = (7\n% 4)") == ("x = (7\n% 4)",)


@pytest.mark.parametrize("words", ["six", "six/", "/x", "a/b/c", "", "no-such-study/x"])
def test_why_of_what_is_no_run_is_one_sentence(tmp_path, words):
    ask = subprocess.run(
        [sys.executable, "-m", "corrlib.study.why", words],
        env={**os.environ, "CORRLIB_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ask.returncode == 2 and ask.stderr.startswith("error: ") and ask.stderr.count("\n") == 1


def test_why_names_packages_that_are_others_here():
    found = why._with({"numpy": np.__version__, "torch": "0.1", "no-such-package": "1"})
    assert found[0] == f"numpy {np.__version__}" and found[1].startswith("torch 0.1 (here ")
    assert found[2] == "no-such-package 1 (here missing)"


def test_who_reads_a_run_whose_data_have_become_others_is_made_again(tmp_path, monkeypatch):
    """Even where the run itself ends at the same numbers: who reads it may look at its data, too."""
    monkeypatch.undo()
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    finish_run("s", "self-mn_tiny-seed1", {"metrics.json": "{}"}, made_of={"data": "one"}, setting="self")
    run = runs.Run(check(KINDS["results"], {"study": "s"}), "12_results")
    runs.read_metrics("s", "self-mn_tiny-seed1")
    run.finish()
    made_of = runs.read_manifest("s", "results")["made_of"]
    assert made_of["parents_data"] == {"self-mn_tiny-seed1": "one"} and not identity._other_parents("s", made_of)
    finish_run("s", "self-mn_tiny-seed1", {"metrics.json": "{}"}, made_of={"data": "two"}, setting="self")
    assert identity._other_parents("s", made_of) == ["run 'self-mn_tiny-seed1', which it read, is of other data now"]


def test_a_run_that_becomes_another_while_it_is_taken_over_is_not(tmp_path, monkeypatch):
    """The copy would be half the old run and half the new, and its own manifest would call it whole."""
    monkeypatch.undo()
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    finish_run("base", "r", {"metrics.json": "{}", "log.csv": "a"}, parameters={"seed": 1, "study": "base"})
    copied = runs._take

    def meanwhile(source, target):
        copied(source, target)
        Path(target).write_text("of another run")

    monkeypatch.setattr(runs, "_take", meanwhile)
    assert not runs.take_over("base", "mine", "r") and not runs.is_finished("mine", "r")
    monkeypatch.setattr(runs, "_take", copied)
    assert runs.take_over("base", "mine", "r") and runs.read_manifest("mine", "r")["taken_from"] == "base"
