"""A run's notebook as a page: its parameters once, with its values; and what a mistake after its end costs."""

import ast
import json
from pathlib import Path

import papermill
import pytest

from corrlib.study import reproduce, runs
from corrlib.study.pages import write_page
from corrlib.study.plan import plan_runs

CELL = "# recipe\nseed = 1\ndata = 'a'\nteachers = [\n    'x',\n]\n\n# machine\nthreads = 1  # of a process"


def notebook(folder, source=CELL):
    tagged = {"cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]}, "outputs": [], "source": source}
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# A\n", "text"]}, tagged]
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_a_page_holds_the_values_of_its_run_under_the_notebooks_comments(tmp_path):
    values = {"seed": 7, "data": 'it\'s "here"\n', "teachers": ["a", "b"], "threads": None}
    page = write_page(notebook(tmp_path), tmp_path / "page.ipynb", values)
    cells = json.loads(page.read_text())["cells"]
    source, names = "".join(cells[1]["source"]), {}
    exec(source, names)
    assert {name: names[name] for name in values} == values and len(cells) == 2
    assert source.startswith("# recipe\nseed = 7\n") and "\n\n# machine\nthreads = None" in source
    assert cells[0]["source"] == ["# A\n", "text"]


def test_a_parameter_that_the_notebook_does_not_show_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no parameter 'sed' in its parameters cell"):
        write_page(notebook(tmp_path), tmp_path / "page.ipynb", {"sed": 1})


@pytest.mark.parametrize("run", ["stage1-mn_tiny-seed1", "ensemble-mn_tiny-seed1", "correspondences-seed1", "results"])
def test_planned_notebooks_show_what_the_plan_gives_them(tmp_path, run):
    plan = plan_runs("smoke")[run]
    page = json.loads(write_page(plan.notebook, tmp_path / "page.ipynb", plan.parameters).read_text())
    cell = next(c for c in page["cells"] if "parameters" in c["metadata"].get("tags", []))
    shown = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse("".join(cell["source"])).body}
    assert shown == plan.parameters


@pytest.mark.parametrize(
    ("finished", "status", "said"), [(True, 0, "is finished, but"), (False, 1, "failed: NameError")]
)
def test_a_mistake_after_the_end_of_a_run_leaves_it_finished(tmp_path, monkeypatch, capsys, finished, status, said):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    run = "stage1-mn_tiny-seed1"

    def execute(page, *_, **__):
        if finished:
            (Path(page).parent / "manifest.json").write_text("{}")
        raise papermill.PapermillExecutionError(0, 1, "x", "NameError", "no such name", [])

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    assert reproduce.execute("smoke", run) == status
    assert said in capsys.readouterr().out and runs.is_finished("smoke", run) == finished
