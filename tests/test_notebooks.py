"""Notebooks as files: clean, thin, with parameters that their model knows; and run with their defaults on tiny data."""

import ast
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from corrlib.reports import single_run
from corrlib.study import runs
from corrlib.study.parameters import FIRST_BACKBONES, KINDS, MACHINE, StageTwoParameters, check

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))
MODELS = {
    "01": "data",
    "02": "stage1",
    "03": "stage1",
    "04": "stage1",
    "05": "estimate",
    "06": "stage2",
    "07": "ablation",
    "08": "ablation",
    "09": "ablation",
    "10": "ablation",
    "11": "tasks",
    "12": "results",
    "13": "explore",
    "14": "map",
    "90": "benchmark",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestNotebook:
    def test_has_no_outputs(self, path):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None

    def test_parameters_cell_shows_the_defaults(self, path):
        cells = [c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", [])]
        assert len(cells) == 1
        shown = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cells[0].source).body}
        model = KINDS[MODELS[path.stem[:2]]]
        assert set(shown) == set(model.model_fields)
        own = check(model, shown).model_dump()
        differ = {k for k, f in model.model_fields.items() if own[k] != f.default}
        assert differ <= {"backbone", "study", "teachers"}  # teachers that are not named are found by name
        assert shown.get("teachers") in (None, [])

    def test_begins_with_a_question_and_ends_with_an_answer(self, path):
        text = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
        assert "**Question.**" in text[0] and text[-1].startswith("## Answer")

    def test_cells_are_thin(self, path):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
                assert len(cell.source.splitlines()) <= 15


def test_every_notebook_has_a_model():
    assert {p.stem[:2] for p in NOTEBOOKS} == set(MODELS)


def cells_of(name):
    return nbformat.read(next(p for p in NOTEBOOKS if p.stem.startswith(name)), 4).cells


@pytest.mark.parametrize("name", ["02", "03", "04", "06"])
def test_parameters_of_training_are_in_two_groups(name):
    source = next(c.source for c in cells_of(name) if "parameters" in c.metadata.get("tags", []))
    recipe, machine = source.split("\n\n")
    assert recipe.startswith("# recipe\n") and machine.startswith("# machine")
    assert {node.targets[0].id for node in ast.parse(machine).body} == set(MACHINE)
    assert not {node.targets[0].id for node in ast.parse(recipe).body} & set(MACHINE)


def test_stage_one_notebooks_differ_only_in_what_the_backbone_sees():
    first, *others = ({c.id: c.source for c in cells_of(name)} for name in ("02", "03", "04"))
    for cells in others:
        differ = {id for id in first if cells.get(id) != first[id]}
        assert list(cells) == list(first)
        assert differ == {"cell-00", "cell-02", "cell-04", "cell-05", "cell-draw-text", "cell-draw"}
        lines = zip(first["cell-02"].splitlines(), cells["cell-02"].splitlines(), strict=True)
        assert [a.split(" =")[0] for a, b in lines if a != b] == ["backbone"]
    other = {c.id: c.source for c in cells_of("04_stage1_other")}
    assert list(other) == [id for id in first if "draw" not in id]
    assert {id for id in other if other[id] != first[id]} == {"cell-00", "cell-02", "cell-04", "cell-05"}


@pytest.mark.parametrize("name", ["01", "02", "03", "04", "05", "06", "13"])
def test_what_others_read_is_written_before_the_answer(name):
    """A run is finished where its answer is rendered: a mistake in a sentence costs no training."""
    sources = [c.source for c in cells_of(name)]
    end = next(i for i, s in enumerate(sources) if ".finish(" in s or "stages.report(" in s)
    answer = sources.index("## Answer")
    assert end < answer
    assert not any(word in s for s in sources[answer:] for word in ("write_", "figures.save", ".finish("))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A repository in which nothing has been run."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copy("pyproject.toml", folder)
    for name in ("corrlib", "studies"):
        (folder / name).symlink_to(Path(name).resolve())
    return folder


def run_all(name, **changes):
    """Run a notebook cell by cell in this process, with its defaults but for `changes`; returns what it showed."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shown = []
    try:
        for cell in cells_of(name):
            if cell.cell_type == "code":
                with capture_output() as captured:
                    result = shell.run_cell(cell.source)
                result.raise_error()
                shown += [captured.stdout, *(str(output.data) for output in captured.outputs)]
                shown.append(str(getattr(result.result, "data", result.result)))
                if "parameters" in cell.metadata.get("tags", []):
                    shell.user_ns.update(changes)
    finally:
        plt.close("all")
        InteractiveShell.clear_instance()
    return "\n".join(shown)


SIZES = {"pretraining_clips": 24, "development_clips": 40, "validation_clips": 12, "evaluation_clips": 16}


def test_notebooks_run_one_after_the_other_with_their_defaults(fresh, monkeypatch):
    """01 composes a tiny corpus; all that follows is told nothing."""
    monkeypatch.chdir(fresh)
    for name in ("CORRLIB_RUNS", "CORRLIB_DATA", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    assert "oracle reaches only" in run_all("01", **SIZES)
    for name, backbone in zip(("02", "03", "04"), FIRST_BACKBONES, strict=True):
        assert f"stage1-{backbone}-seed101**, best of 20 epochs" in run_all(name)
    assert "As a model, the ensemble reaches" in run_all("05")
    assert len(runs.read_manifest("scratch", "correspondences-seed101")["members"]) == 3
    assert "`continued` is not finished yet" in run_all("06")
    assert "from which it started: annotated mAP@10" in run_all("06", target="annotated")

    manifest = runs.read_manifest("scratch", "ensemble-passt_tiny-seed101")
    assert manifest["setting"] == manifest["parameters"]["target"] == "ensemble"
    assert manifest["parameters"]["teachers"] == [f"stage1-{b}-seed101" for b in FIRST_BACKBONES]
    row = pd.read_csv(fresh / "runs" / "scratch" / "ensemble-passt_tiny-seed101" / "target_row.csv")
    assert row["estimated"].sum() == pytest.approx(1, abs=1e-4) and row["annotated"].sum() == 1
    control = single_run.control_of(check(StageTwoParameters, manifest["parameters"]))
    assert control == "continued-passt_tiny-seed101"

    for run in runs.gather("scratch")["run"]:
        runs.take_over("scratch", "builtin", run)
    assert "captions on which annotation and estimate disagree most" in run_all("13")
    assert json.loads((fresh / "runs" / "builtin" / "explore" / "manifest.json").read_text())["run"] == "explore"
