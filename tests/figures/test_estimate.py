"""Figures of estimates, corpora and exploring: what is drawn is the table, and no text meets another, however long."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from corrlib import figures
from corrlib.figures.captions import first_lines, shorten
from corrlib.figures.style import text_inches
from tests.figures.layout import misplaced, texts_of

LONG = "a very long caption about rain, wind & dogs that bark <b>loudly</b> at *cars* in the distance while "
ODD = [
    "It costs $5 and $6",
    r"$\text{rain}$ and `wind` | thunder",
    (LONG * 3)[:200],
    "x" * 200,
    "<i>dog_barks</i> ^2 at 100 %",
    "Regen fällt — ja",
]
FAMILIES = ["passt_s16", "passt_s10", "atst_base", "mn10", "mn20", "mn40", "a backbone with quite a long name"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def titles(figure):
    return [t.get_text() for t, axis in texts_of(figure) if axis is None]


def test_a_text_is_cut_to_its_room_and_says_so():
    for text in ODD:
        line = shorten(text, 2, 7)
        assert text_inches(line, 7) <= 2
        assert line == text if text_inches(text, 7) <= 2 else line.endswith("…") and text.startswith(line[:-1])
        lines = first_lines(text, 2, 3, 7).split("\n")
        assert len(lines) <= 3 and all(text_inches(part, 7) <= 2 for part in lines)
    assert first_lines(LONG, 40, 2) == LONG.strip() and shorten("", 1) == ""


def query(captions, count=50, truth=True, place=3, flat=False):
    draw = np.random.default_rng(0)
    p = np.full(200, 1 / 200) if flat else np.sort(draw.dirichlet(np.full(200, 0.1)))[::-1]
    values = {"probability": p[:count], "truth": draw.choice([0, 0.5, 1], count) if truth else np.nan}
    return [(c, pd.DataFrame({**values, "annotated": np.arange(count) == place})) for c in captions]


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("place", [0, 3, 49, None])
def test_top_clips_are_the_table_and_no_text_meets_another(truth, place):
    queries = query([ODD[0], ODD[2], ODD[3]], truth=truth, place=place)
    figure = figures.top_clips(queries)
    assert misplaced(figure) == []
    for axis, (_, table) in zip(figure.axes, queries, strict=False):
        assert [bar.get_height() for bar in axis.patches] == pytest.approx(table["probability"].tolist())
        assert len({bar.get_facecolor() for bar in axis.patches}) == (3 if truth else 1)
        said = axis.get_title(loc="left")
        assert said.endswith("not in the top 50" if place is None else f"annotated clip at rank {place + 1}")
        assert axis.lines[0].get_xdata().tolist() == ([] if place is None else [place + 1])
    assert axis.get_title(loc="left").startswith("“xxx") and len(figure.axes) == 3 + truth


def test_top_clips_count_what_holds_half_of_the_probability():
    certain = pd.DataFrame({"probability": [0.7, 0.2, 0.1], "truth": np.nan, "annotated": [True, False, False]})
    spread = query(["b"], flat=True)[0]
    figure = figures.top_clips([("a", certain), spread])
    assert figure.get_suptitle().replace("\n", " ").endswith("half of a caption's probability: 1, more than 50")


@pytest.mark.parametrize("names", [FAMILIES[:2], FAMILIES, ["mn_tiny"]])
def test_calibration_and_agreement_keep_legend_title_and_labels_apart(names):
    draw = np.random.default_rng(0)
    names = [*names, "ensemble"]
    tables = {n: pd.DataFrame({"bin": range(1, 11), "truth": np.sort(draw.random(10))}) for n in names}
    figure = figures.calibration(tables)
    assert misplaced(figure) == []
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert len(lines) == len(names)
    np.testing.assert_allclose(lines["stage-1 ensemble"], tables["ensemble"]["truth"])
    table = pd.DataFrame({"estimate of": names, "average_precision": draw.random(len(names))})
    table = table.assign(rank_correlation=draw.random(len(names)), chance=0.02)
    figure = figures.agreement(table)
    assert misplaced(figure) == []
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert sorted(float(m.get_xdata()[0]) for m in marks) == pytest.approx(sorted(table["average_precision"]))
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    best = table["average_precision"].idxmax()
    assert len(labels) == len(names) and figure.get_suptitle().replace("\n", " ").endswith(
        figures.looks(names)[names[best]][2]
    )


def test_a_calibration_or_agreement_without_anything_to_rank_says_so():
    collapsed = {"ensemble": pd.DataFrame({"bin": [1], "truth": [0.25]})}
    assert "equally similar; their mean truth is 0.25" in figures.calibration(collapsed).get_suptitle()
    table = pd.DataFrame(
        {"estimate of": ["ensemble"], "average_precision": np.nan, "rank_correlation": 0.1, "chance": np.nan}
    )
    assert figures.agreement(table).get_suptitle().startswith("No caption describes wholly")


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("count", [3, 24])
def test_matrices_are_drawn_as_they_are_under_captions_of_any_kind(truth, count):
    draw = np.random.default_rng(1)
    shown = {"annotated": np.eye(count), "estimated": draw.random((count, count))}
    shown |= {"true": draw.choice([0, 1], (count, count))} if truth else {}
    captions = [ODD[i % len(ODD)] for i in range(count)]
    figure = figures.correspondence_matrices(shown, captions)
    assert misplaced(figure) == []
    for axis, matrix in zip(figure.axes, shown.values(), strict=False):
        np.testing.assert_allclose(np.asarray(axis.images[0].get_array()), np.asarray(matrix).T)
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels[0] == ODD[0] and all(text_inches(label, 6.5) <= 3.2 for label in labels)
    first = sum(shown["estimated"][i, i] > np.delete(shown["estimated"][:, i], i).max() for i in range(count))
    said = figure.get_suptitle().replace("\n", " ")
    assert f"first for {first} of {count} captions" in said and ("match wholly" in said) == truth


def test_a_collapsed_estimate_is_not_said_to_find_anything():
    shown = {"annotated": np.eye(4), "estimated": np.ones((4, 4))}
    assert "first for 0 of 4 captions" in figures.correspondence_matrices(shown, ["a"] * 4).get_suptitle()


def row(clips=16, truth=True, estimated=True, place=12):
    draw = np.random.default_rng(2)
    table = pd.DataFrame({"text": [ODD[i % len(ODD)] for i in range(clips)]})
    table["annotated"] = (np.arange(clips) == place).astype(int)
    table["estimated"] = np.sort(draw.dirichlet(np.ones(clips)))[::-1] if estimated else np.nan
    return table.assign(true=draw.random(clips) if truth else np.nan)


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("place", [0, 12])
@pytest.mark.parametrize("caption", ODD[:4])
def test_a_target_row_stands_beside_its_annotated_row(truth, place, caption):
    table = row(truth=truth, place=place)
    figure = figures.target_row(caption, table)
    assert misplaced(figure) == []
    annotated, estimated = ([bar.get_width() for bar in axis.patches] for axis in figure.axes[:2])
    kept = list(range(10)) if place == 0 else [*range(9), 12]
    assert annotated == table["annotated"].iloc[kept].tolist() and sum(annotated) == 1
    assert estimated == pytest.approx(table["estimated"].iloc[kept].tolist())
    said = figure.get_suptitle().replace("\n", " ")
    assert f"{100 * table['estimated'][place]:.1f} % for the annotated clip" in said and "the 15 others" in said
    assert figure.axes[0].get_position().width > 0.15


def test_a_target_of_annotated_pairs_has_one_row():
    figure = figures.target_row(ODD[1], row(estimated=False, place=0, truth=False))
    assert misplaced(figure) == [] and len(figure.axes) == 1 and "only the annotated clip" in figure.get_suptitle()


def test_stills_of_exploring_hold_long_names_and_captions():
    picture = np.zeros((20, 30))
    cards = [(ODD[3] + ".wav", picture, 4.0, 0.5, 0.1, text) for text in ODD[:5]]
    assert misplaced(figures.ranked_clips(ODD[2], cards)) == []
    matches = [(c, ODD[3], 0.1, truth, [(ODD[2], 0.1), ("b", -0.2)]) for c in ODD[:3] for truth in (None, 1.0)]
    figure = figures.partial_matches(matches)
    assert misplaced(figure) == []
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.1, -0.2]
    assert figure.get_suptitle().startswith("For 6 of these 6")


class FakeCorpus:
    def __init__(self, seconds, texts):
        self.clips = pd.DataFrame({"duration_seconds": seconds})
        self.captions = pd.DataFrame({"text": texts})


def test_figures_of_a_corpus_count_what_it_holds():
    splits = {name: FakeCorpus([4.0, 5.0], ODD) for name in ("pretraining", "development", "validation", "evaluation")}
    figure, table = figures.contents(splits)
    assert misplaced(figure) == []
    assert table.groupby(["what", "split"])["count"].sum().tolist() == [6] * 4 + [2] * 4
    truth = np.array([[1, 0.5, 0], [1, 1, 0], [0, 0.2, 1.0]])
    figure, table = figures.ambiguity(truth)
    assert misplaced(figure) == [] and table["wholly"].tolist() == [2, 1, 1] and table["partly"].tolist() == [0, 2, 0]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == pytest.approx(200)  # every caption is in one bar of each kind
    names = {ODD[3]: np.random.default_rng(0).standard_normal(8000), "b": np.zeros(8000)}
    figure = figures.spectrogram_sheet(names, 16000, captions={ODD[3]: ODD[2], "b": ODD[1]})
    assert misplaced(figure) == [] and figure.axes[1].get_xlabel().replace("\n", " ") == ODD[1]


def test_human_ratings_say_the_correlation_and_nothing_more():
    draw = np.random.default_rng(0)
    groups = np.repeat(["annotated", "near", "random"], 50)
    pairs = pd.DataFrame({"group": groups, "rating": draw.uniform(0, 100, 150), "similarity": draw.random(150)})
    line = {"split": "all splits", "clips": "near clips only", "rank correlation": -0.1, "low": -0.2, "high": 0.02}
    figure = figures.human_ratings(pairs, pd.DataFrame([{**line, "queries": 4}]))
    assert misplaced(figure) == []
    assert figure.get_suptitle().replace("\n", " ").endswith("rank correlation -0.10 [-0.20, 0.02]")
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(300)
