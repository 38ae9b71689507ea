"""Figures of regimes and of the course of training: what is drawn equals the table, and no text overlaps."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from corrlib import figures as plots
from tests.figures.drawn import clashes

BACKBONES = ("passt_tiny", "atst_tiny", "all backbones")
SETTINGS = ("stage1", "continued", "self", "ensemble", "mixture", "true", "label_smoothing", "random_teacher")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def cells(epochs=(5, 10, 20, 40), clips=(512, 1024, 2048, 3584), seeds=3):
    """A map whose gain grows with the epochs and falls with the clips, one cell of which was not run."""
    rows = []
    for metric, number, size in itertools.product(("annotated mAP@10", "true mAP@10"), epochs, clips):
        if (number, size) != (40, 3584):
            gain = 0.001 * number - 0.000005 * size
            rows.append(("passt_tiny", "ensemble", metric, number, size, 0.0, 0.8, gain, 1 + number / 20 - size / 8000))
    for wrong, ambiguity in itertools.product((0.25, 0.5), (0.5, 0.8)):
        rows.append(("passt_tiny", "ensemble", "true mAP@10", 20, 1024, wrong, ambiguity, -0.01 * wrong, 1.5))
    names = "backbone setting metric epochs clips wrong ambiguity difference".split() + ["overfit index"]
    table = pd.DataFrame(rows, columns=names).assign(seeds=seeds, p_holm=0.5)
    ends = {"low": -0.002, "high": 0.002, "seeds_low": -0.004, "seeds_high": 0.004}
    return table.assign(**{name: table["difference"] + far for name, far in ends.items()})


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_the_map_writes_every_cell_and_leaves_the_others_blank():
    table = cells()
    figure = plots.regimes(table)
    assert clashes(figure) == []
    usual = table[(table["metric"] == "true mAP@10") & (table["wrong"] == 0)]
    shown = usual[["difference", "overfit index"]].itertuples(index=False, name=None)
    numbers = {f"{100 * value:+.2f}\n({index:.1f})" for value, index in shown}
    written = [text for text in texts(figure.axes[1]) if text.startswith(("+", "-"))]
    assert len(written) == 15 and set(written) == numbers
    bold = [text for text in figure.axes[1].texts if text.get_fontweight() == "bold"]
    clear = usual[(usual["seeds_low"] > 0) | (usual["seeds_high"] < 0)]
    assert len(bold) == len(clear) and 0 < len(clear) < 15
    assert f"above continued in {int((usual['seeds_low'] > 0).sum())} of 15 cells" in figure.get_suptitle()
    assert "(not run)" not in figure.get_supxlabel() and len(figure.axes[1].patches) == 1
    assert len(texts(figure.axes[2])) == 5  # 0.8 without wrong captions is a cell of the map itself


def test_a_single_cell_and_a_study_beside_it():
    table = cells((20,), (3584,))
    beside = pd.DataFrame(
        {"study": ["clotho"], "backbone": ["all backbones"], "metric": ["true mAP@10"], "overfit index": [1.8]}
    ).assign(difference=0.01)
    figure = plots.regimes(table[table["wrong"] == 0], beside)
    assert clashes(figure) == [] and "(not run)" in figure.get_supxlabel().replace("\n", " ")
    assert "clotho, all backbones" in texts(figure.axes[3])


def test_without_truth_there_is_one_map():
    figure = plots.regimes(cells()[lambda t: t["metric"] == "annotated mAP@10"])
    assert [axis.get_visible() for axis in figure.axes[:2]] == [True, False]


@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS[:2]])
def test_the_course_starts_where_stage_one_ended(settings):
    rows = []
    for setting, backbone, seed, kind in itertools.product(
        settings, BACKBONES[:2], (1, 2), ("annotated", "unannotated match", "mismatch")
    ):
        epochs = range(1, 4) if setting == "stage1" else range(3)
        rows += [(setting, backbone, seed, e, kind, 0.1 * e + seed * (kind != "mismatch"), 0.1 * e) for e in epochs]
    table = pd.DataFrame(rows, columns=["setting", "backbone", "seed", "epoch", "kind", "similarity", "rank"])
    figure = plots.course(table)
    assert clashes(figure) == []
    lines = {line.get_label(): line for line in figure.axes[1].lines if not line.get_label().startswith("_")}
    assert list(lines) == list(settings)
    assert lines["stage1"].get_xdata().tolist() == [-2, -1, 0]
    assert lines["continued"].get_xdata().tolist() == [0, 1, 2]
    assert lines["continued"].get_ydata().tolist() == pytest.approx([0, 10, 20])
    margin = next(line for line in figure.axes[0].lines if line.get_label() == "continued")
    assert margin.get_ydata().tolist() == pytest.approx([1.5, 1.5, 1.5])


def test_headroom_is_drawn_as_it_is():
    rows = [
        (backbone, setting, metric, 0.01 * place, 0.02, 0.5 * place, 0.5 * place - 0.2, 0.5 * place + 0.2, 3)
        for place, setting in enumerate(("self", "ensemble", "mixture"))
        for backbone in BACKBONES
        for metric in ("annotated mAP@10", "true mAP@10")
    ]
    columns = "backbone setting metric gain headroom share low high seeds".split()
    table = pd.DataFrame(rows, columns=columns)
    figure = plots.headroom(table)
    assert clashes(figure) == []
    drawn = sorted(float(x) for line in figure.axes[0].lines if line.get_marker() != "None" for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(100 * table[table["metric"] == "annotated mAP@10"]["share"]))
    assert "mixture reaches 100 % at most" in figure.get_suptitle().replace("\n", " ")
    none = table.assign(share=np.where(table["setting"] == "self", np.nan, table["share"]))
    assert [label.get_text() for label in plots.headroom(none).axes[0].get_yticklabels()] == ["ensemble", "mixture"]


def test_overfit_counts_the_runs_that_were_done_in_two_thirds():
    table = pd.DataFrame(
        {
            "backbone": ["passt_tiny", "passt_tiny", "mn_tiny"],
            "seed": [1, 2, 1],
            "epochs": 20,
            "kept epoch": [12, 13, 20],
            "within noise": [10, 11, 16],
            "overfit index": [1.5, 1.6, 1.9],
        }
    )
    figure = plots.overfit(table)
    assert clashes(figure) == []
    claim = figure.get_suptitle().replace("\n", " ")
    assert claim.startswith("Overfit index of stage 1: 1.50 to 1.90; 2 of 3 runs were as good after two thirds")
