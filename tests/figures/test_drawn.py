"""Figures that compare runs: what is drawn equals the table, titles say no more than it, and no text overlaps."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from corrlib import figures as plots
from corrlib.figures import style
from corrlib.figures.ensembles import short_names
from tests.figures.drawn import clashes, overlaps

TINY = ("passt_tiny", "atst_tiny", "mn_tiny")
LONG = ("passt_s16_with_a_long_name", "atst_base_of_another_$kind$", "mn40_as_ext_mAP_487", "beats_iter3_plus")
SETTINGS = ("stage1", "continued", "self", "ensemble", "mixture", "true", "a-point-with-a_long_$name$")
ALL = ("annotated mAP@10", "true mAP@10", "true nDCG@10")
CASES = {
    "as in the study": (TINY, SETTINGS[:4], ALL, 3),
    "long names, seven settings": (LONG, SETTINGS, ALL, 5),
    "one backbone, one seed, no truth": (TINY[:1], SETTINGS[:4], ALL[:1], 1),
    "long names, no truth": (LONG, SETTINGS[:4], ALL[:1], 1),
    "one setting": (TINY[:1], SETTINGS[:1], ALL[:1], 1),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def results_table(backbones, settings, metrics, seeds):
    rng = np.random.default_rng(0)
    names = [*backbones, *([style.POOLED] if len(backbones) > 1 else [])]
    rows = [(b, s, m, v, v - 0.02, v + 0.03, seeds) for b, s, m, v in _drawn_values(rng, names, settings, metrics)]
    rows += [("ensemble of all", "stage1 ensemble", m, 0.2, 0.19, 0.21, seeds) for m in metrics]
    return pd.DataFrame(rows, columns=["backbone", "setting", "metric", "mean", "low", "high", "seeds"])


def _drawn_values(rng, *names):
    return [(*key, rng.uniform(0.12, 0.16)) for key in itertools.product(*names)]


def differences_table(backbones, settings, metrics, seeds):
    rng = np.random.default_rng(1)
    names = [*backbones, *([style.POOLED] if len(backbones) > 1 else [])]
    rows = []
    for against in ("continued", "stage1"):
        for setting in settings[1:] or ("self",):
            for backbone, metric in itertools.product(names, metrics):
                value, far = rng.normal(0, 0.01), np.nan if seeds == 1 else 0.02
                rows.append((backbone, setting, against, metric, value, value - 0.008, value + 0.008, seeds, -far, far))
    columns = "backbone setting against metric difference low high seeds seeds_low seeds_high".split()
    return pd.DataFrame(rows, columns=columns)


def points_table(case):
    table = differences_table(*case)
    return table[table["against"] == "continued"].rename(columns={"setting": "point"})


def drawn_x(axis):
    """Places along the horizontal axis of the markers that are drawn, sorted."""
    lines = [line for line in axis.lines if line.get_marker() not in ("None", "|", None)]
    return sorted(float(x) for line in lines for x in np.atleast_1d(line.get_xdata()))


def test_results(case):
    table = results_table(*case)
    figure = plots.results(table, dict.fromkeys(case[2], 0.5))
    assert clashes(figure) == []
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == [f"{metric} oracle: 50.0 %" for metric in case[2]]
    for axis, metric in zip(figure.axes, case[2], strict=True):
        own = table[(table["metric"] == metric) & (table["setting"] != "stage1 ensemble")]
        drawn = sorted(float(y) for bars in axis.containers for y in bars[0].get_ydata())
        assert drawn == pytest.approx(sorted(100 * own["mean"]))
        ends = sorted(float(y) for bars in axis.containers for line in bars[1] for y in line.get_ydata())
        assert ends == pytest.approx(sorted(100 * pd.concat([own["low"], own["high"]])))
    best = table[(table["metric"] == ALL[0]) & (table["setting"] != "stage1 ensemble")].nlargest(1, "mean").iloc[0]
    claim = figure.get_suptitle().replace("\n", " ")
    assert f"{best['setting']}: {100 * best['mean']:.1f} % [" in claim
    assert style.seeds_text([case[3]]) in figure.get_supxlabel()


def test_settings_that_destroy_retrieval_are_named_and_not_drawn():
    table = results_table(TINY, ("stage1", "continued", "uniform"), ALL, 3)
    table.loc[table["setting"] == "uniform", ["mean", "low", "high"]] = [0.004, 0.003, 0.005]
    figure = plots.results(table, {})
    assert "Off the scale (annotated mAP@10): uniform 0.4 %." in figure.get_supxlabel().replace("\n", " ")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["stage1", "continued"]
    table = differences_table(TINY, ("stage1", "self", "uniform"), ALL, 3)
    table.loc[table["setting"] == "uniform", ["difference", "low", "high"]] = [-0.13, -0.14, -0.12]
    figure = plots.differences(table)
    assert "uniform -13.0 points." in figure.get_supxlabel().replace("\n", " ")
    assert min(drawn_x(figure.axes[0])) > -5


def test_differences(case):
    table = differences_table(*case)
    metrics = [metric for metric in case[2] if metric in ALL[:2]]
    figure = plots.differences(table)
    assert clashes(figure) == []
    over_clips, table = table, style.with_main_intervals(table)
    assert table["low"].equals((over_clips["seeds_low"] if case[3] >= 3 else over_clips["low"]).rename("low"))
    for axis, metric in zip(figure.axes, metrics, strict=True):
        own = table[table["metric"] == metric]
        assert drawn_x(axis) == pytest.approx(sorted(100 * own["difference"]))
        filled = [line for line in axis.lines if line.get_marker() not in ("None", "|") and len(line.get_xdata()) == 1]
        clear = [line for line in filled if line.get_markerfacecolor() != "white"]
        assert len(clear) == int(((own["low"] > 0) | (own["high"] < 0)).sum())
    own = table[(table["metric"] == ALL[0]) & (table["against"] == "continued")]
    claim = figure.get_suptitle().replace("\n", " ")
    assert f"annotated mAP@10 {int((own['low'] > 0).sum())} of {len(own)} clearly above" in claim
    assert ("Student" in figure.get_supxlabel()) == (case[3] > 2)  # fewer seeds have no interval of their own
    groups = [label.get_text() for label in figure.axes[0].get_yticklabels() if "−" in label.get_text()]
    assert groups[0] == f"{'all backbones' if len(case[0]) > 1 else style.looks(case[0])[case[0][0]][2]}, − continued"


def test_relevances_of_a_study_have_panels_as_far_as_there_is_room():
    named = ("dcase mAP@10", "dcase R@1", "tau nDCG@10", "tau rank correlation", "my_own.2 mAP@10")
    metrics = (*ALL[:1], "annotated clip-to-caption mAP@10", *named)
    table = results_table(LONG, SETTINGS[:4], metrics, 3)
    counts = {m: 1037 if m.startswith("dcase") else 17 for m in named}
    figure = plots.results(table.assign(queries=table["metric"].map(counts).fillna(5225).astype(int)), {})
    assert clashes(figure) == []
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == ["annotated mAP@10", "dcase mAP@10", "tau nDCG@10", "my_own.2 mAP@10"]
    told = figure.get_supxlabel().replace("\n", " ")
    assert told.endswith("Queries that were judged: dcase 1,037, tau 17, my_own.2 17.")
    figure = plots.differences(differences_table(LONG, SETTINGS[:4], metrics, 3))
    assert clashes(figure) == [] and len(figure.axes) == 3
    with_truth = plots.results(results_table(TINY, SETTINGS[:4], (*ALL, *named), 3), {})
    titles = [axis.get_title().replace("\n", " ") for axis in with_truth.axes]
    assert titles == [*ALL[:2], "dcase mAP@10", "tau nDCG@10"] and clashes(with_truth) == []


def test_ceiling(case):
    table = results_table(*case).assign(ceiling=0.2)  # as results.reached gives it
    for name in ("mean", "low", "high"):
        table[f"share {name}"] = table[name] / 0.2
    figure = plots.ceiling(table)
    assert clashes(figure) == []
    for axis, metric in zip(figure.axes, case[2], strict=False):
        own = table[(table["metric"] == metric) & (table["setting"] != "stage1 ensemble")]
        drawn = sorted(float(y) for bars in axis.containers for y in bars[0].get_ydata())
        assert drawn == pytest.approx(sorted(500 * own["mean"]))
        assert axis.get_ylim()[1] >= 105


def test_learning_curves(case):
    backbones, settings, _, seeds = case
    rows = [
        (setting, backbone, seed, epoch, 0.1 + epoch / 100, epoch == 3)
        for setting, backbone, seed, epoch in itertools.product(settings, backbones, range(seeds), (1, 2, 3))
    ]
    table = pd.DataFrame(rows, columns=["setting", "backbone", "seed", "epoch", "score", "kept"])
    figure = plots.learning_curves(table)
    assert clashes(figure) == []
    runs = len(settings) * len(backbones) * seeds
    claim = f"{runs} of {runs} runs are best at their last epoch; {settings[0]} at epoch 3 to 3"
    assert figure.get_suptitle().replace("\n", " ") == claim
    assert sum(len(line.get_xdata()) == 3 for axis in figure.axes for line in axis.lines) == runs


def test_points(case):
    table = points_table(case)
    figure = plots.points(table)
    assert clashes(figure) == []
    own = table[(table["backbone"] != style.POOLED) & (table["metric"] == ALL[0])]
    assert drawn_x(figure.axes[0]) == pytest.approx(sorted(100 * own["difference"]))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(own["point"].unique())
    colours = {line.get_color() for line in figure.axes[0].lines if len(line.get_xdata()) == 1}
    assert colours == {style.colour(backbone) for backbone in own["backbone"]}


@pytest.mark.parametrize("known", [True, False])
def test_targets_and_students(case, known):
    table = points_table(case)
    agreement = {point: place / 10 for place, point in enumerate(reversed(table["point"].unique()))}
    table["rank_correlation"] = table["point"].map(agreement) if known else np.nan
    figure = plots.targets_and_students(table)
    assert clashes(figure) == []
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"{p} ({a:.2f})" for p, a in agreement.items()] if known else list(agreement)[::-1]
    assert ("In brackets" in figure.get_supxlabel()) == known


def test_a_title_speaks_of_the_greatest_difference_even_where_it_is_a_loss():
    table = points_table(CASES["as in the study"]).assign(rank_correlation=0.5)
    table[["difference", "low", "high", "seeds_low", "seeds_high"]] = [-0.02, -0.03, -0.01, -0.03, -0.01]
    claim = plots.targets_and_students(table).get_suptitle().replace("\n", " ")
    assert "at most -2.0 points" in claim and "0 of 9 clearly above, 9 below" in claim


def test_along(case):
    table = points_table(case)
    values = {point: 0.01 * 2**place for place, point in enumerate(table["point"].unique())}
    table = table[table["backbone"] != style.POOLED].assign(value=lambda t: t["point"].map(values))
    figure = plots.along(table, "temperature of the target", 0.05)
    assert clashes(figure) == []
    own = table[table["metric"] == ALL[0]]
    lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert sorted(float(y) for line in lines for y in line.get_ydata()) == pytest.approx(
        sorted(100 * own["difference"])
    )
    regimes = plots.along(table[table["backbone"] == case[0][0]].assign(regime="equal steps"), "share", by="regime")
    assert clashes(regimes) == []


def test_probability_mass():
    names = ("continued", "ensemble", "a-target-with-a_long_$name$-that-goes-on")
    rows = [(name, 0.1 * place, 0.2, 0.3, 0.5 - 0.1 * place) for place, name in enumerate(names)]
    table = pd.DataFrame(rows, columns=["point", "annotated", "wholly", "partly", "not"])
    figure = plots.probability_mass(table)
    assert clashes(figure) == []
    widths = sorted(round(patch.get_width(), 6) for patch in figure.axes[0].patches)
    assert widths == pytest.approx(sorted(100 * table.drop(columns="point").to_numpy().ravel()))


@pytest.mark.parametrize("names", [TINY, TINY[:1], LONG, ("passt_tiny", "passt_tiny-2", "passt_tiny-3", "mn_tiny")])
@pytest.mark.parametrize("known", [True, False])
def test_ensembles(names, known):
    groups = [g for size in range(1, len(names) + 1) for g in itertools.combinations(names, size)]
    rows = [
        {"seed": seed, "group": " + ".join(g), "members": len(g), "annotated mAP@10": 0.1 + 0.01 * place + 0.001 * seed}
        for seed in (1, 2)
        for place, g in enumerate(groups)
    ]
    table = pd.DataFrame(rows)
    if known:
        table = table.assign(rank_correlation=0.5, average_precision=table["annotated mAP@10"])
    figure = plots.knowledge(table)
    assert clashes(figure) == []
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    drawn = sorted(float(x) for line in lines for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(100 * table["annotated mAP@10"]))
    matrix = pd.DataFrame(np.eye(len(names)) * 0.3 + 0.7, index=names, columns=names)
    figure = plots.likeness(matrix)
    assert clashes(figure) == []
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{v:.2f}" for v in matrix.to_numpy().ravel()]
    costs = [(seed, m + 1, 60.0 * m + seed, 2**20 * m, 0.1 * m) for seed in (1, 2) for m in range(len(names))]
    columns = ["seed", "members", "training seconds", "bytes", "estimating seconds"]
    assert clashes(plots.cost(pd.DataFrame(costs, columns=columns))) == []


def test_members_of_one_family_are_never_called_the_same():
    assert short_names(["passt_tiny", "passt_tiny-2", "mn_tiny"]) == ["PaSST", "PaSST 2", "MN"]
    assert short_names(["mn10", "mn40"]) == ["mn10", "mn40"]


@pytest.mark.parametrize("known", [True, False])
def test_when_it_helps(case, known):
    backbones, _, metrics, seeds = case
    variants = ("all", "share-0.5", "share-0.5-steps", "swapped-0.25", "ambiguity-0", "another_$kind$")
    rng = np.random.default_rng(2)
    rows = [
        (variant, backbone, metric, value, value - 0.01, value + 0.01, seeds, rng.random(), rng.random(), rng.random())
        for variant, backbone, metric, value in _drawn_values(rng, variants, backbones, metrics)
    ]
    columns = "variant backbone metric difference low high seeds student lead wholly".split()
    table = pd.DataFrame(rows, columns=columns).assign(measure="share of the oracle's true mAP@10")
    table = table if known else table.assign(wholly=np.nan, measure="annotated mAP@10")
    explained = pd.DataFrame([{"metric": m, "student": 0.5, "lead": np.nan, "wholly": -0.2} for m in metrics])
    figure = plots.when_it_helps(table, explained)
    assert clashes(figure) == []
    shown = [metric for metric in metrics if metric in ALL[:2]]
    assert len(figure.axes) == len(shown) * (3 if known else 2)
    own = table[table["metric"] == ALL[0]]
    drawn = sorted(float(y) for bars in figure.axes[0].containers for y in bars[0].get_ydata())
    assert drawn == pytest.approx(sorted(100 * own["difference"]))
    assert "lead" not in figure.get_suptitle() and f"{len(own)} of {len(own)} cases" in figure.get_suptitle().replace(
        "\n", " "
    )


def test_benchmark():
    names = [f"part {place} with a $name$" for place in range(6)]
    table = pd.DataFrame(
        {"part": names, "work": "10 s", "usual": "a package", "times_faster": [0.3, 1, 2, 4, 30, None]}
    )
    figure = plots.speedups(table)
    assert clashes(figure) == []
    assert figure.get_suptitle().startswith("4 of 5 parts")
    assert {text.get_text() for text in figure.axes[0].texts} == {"0.30", "1.00", "2.00", "4.00", "30.00"}
    rows = [(w, way, n, n / 1e3, n / 1e4) for w in ("estimation", "search") for way in "abcdef" for n in (1000, 64000)]
    assert clashes(plots.growth(pd.DataFrame(rows, columns=["work", "way", "n", "seconds", "gib"]))) == []


def test_text_on_text_is_found():
    """The checker itself: two titles in one place overlap, and a long label leaves the figure."""
    style.use_style()
    figure, axis = plt.subplots(layout=None)
    figure.text(0.5, 0.9, "one title")
    figure.text(0.5, 0.9, "another")
    assert overlaps(figure) == [("one title", "another")]
    figure, axis = plt.subplots(layout=None)
    axis.set_title("a title that is much too long for the figure that it stands in " * 3)
    assert len(clashes(figure)) == 1
