"""Notebooks as files: clean, thin, and with parameters that their model knows."""

import ast
from pathlib import Path

import nbformat
import pytest

from corrlib.study.parameters import KINDS, check

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
        assert differ <= {"backbone", "study"}

    def test_begins_with_a_question_and_ends_with_an_answer(self, path):
        text = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
        assert "**Question.**" in text[0] and text[-1].startswith("## Answer")

    def test_cells_are_thin(self, path):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
                assert len(cell.source.splitlines()) <= 15


def test_every_notebook_has_a_model():
    assert {p.stem[:2] for p in NOTEBOOKS} == set(MODELS)
