"""Shares of the headroom: Fieller's interval against what it promises, and tables against means by hand."""

import numpy as np
import pandas as pd
import pytest

from corrlib.figures.style import POOLED
from corrlib.reports import results
from corrlib.reports.headroom import headroom, ratio_interval
from corrlib.reports.queries import Judged


def judged(values: dict[tuple[str, str], dict[int, float]]) -> Judged:
    """A study whose captions all have the value of their setting and seed."""
    table = pd.DataFrame({"caption_id": ["a", "b"], "clip": [0, 1]})
    return Judged(
        "some",
        {
            key: {seed: table.assign(**{"true ap@10": value}) for seed, value in by_seed.items()}
            for key, by_seed in values.items()
        },
    )


def test_the_share_is_the_gain_over_that_of_the_true_target():
    base = {1: 0.10, 2: 0.12, 3: 0.11}
    settings = {"continued": 0.0, "ensemble": 0.03, "self": 0.01, "true": 0.05}
    queries = {
        (backbone, setting): {seed: value + extra + 0.01 * (backbone == "mn_tiny") for seed, value in base.items()}
        for backbone in ("passt_tiny", "mn_tiny")
        for setting, extra in settings.items()
    }
    table = headroom(judged(queries), ("true mAP@10",)).set_index(["backbone", "setting"])
    assert set(table.index.get_level_values("backbone")) == {"passt_tiny", "mn_tiny", POOLED}
    for backbone in ("passt_tiny", "mn_tiny", POOLED):
        assert table.loc[(backbone, "ensemble"), "share"] == pytest.approx(0.6)
        assert table.loc[(backbone, "self"), "share"] == pytest.approx(0.2)
        assert table.loc[(backbone, "ensemble"), "headroom"] == pytest.approx(0.05)
        assert table.loc[(backbone, "ensemble"), ["low", "high"]].tolist() == pytest.approx([0.6, 0.6], abs=1e-6)


def test_only_seeds_that_have_all_three_count_and_no_headroom_has_no_share():
    queries = {
        ("passt_tiny", "continued"): {1: 0.1, 2: 0.1},
        ("passt_tiny", "ensemble"): {1: 0.2, 2: 0.1},
        ("passt_tiny", "true"): {2: 0.1},
    }
    row = headroom(judged(queries), ("true mAP@10",)).iloc[0]
    assert row["seeds"] == 1 and row["gain"] == 0 and np.isnan(row["share"]) and np.isnan(row["low"])
    del queries["passt_tiny", "true"]
    assert headroom(judged(queries), ("true mAP@10",)).empty


def test_fiellers_interval_holds_the_ratio_as_often_as_it_says():
    rng, ratio, held, of = np.random.default_rng(3), 0.6, 0, 600
    for _ in range(of):
        bounds = rng.normal(1.0, 0.2, 8)
        gains = ratio * bounds + rng.normal(0, 0.2, 8)
        low, high = ratio_interval(gains, bounds)
        held += low <= ratio <= high
    assert 0.92 < held / of < 0.98


def test_fiellers_interval_ends_where_the_difference_is_just_told_apart():
    rng = np.random.default_rng(4)
    bounds, gains = rng.normal(1, 0.2, 6), rng.normal(0.5, 0.2, 6)
    for end in ratio_interval(gains, bounds):
        low, high = results.interval_over_seeds(gains - end * bounds)
        assert min(abs(low), abs(high)) < 1e-9


@pytest.mark.parametrize("bounds", [[0.1, -0.1, 0.05, -0.04], [0.2, 0.3]])
def test_without_a_headroom_that_is_told_apart_there_is_no_interval(bounds):
    assert np.isnan(ratio_interval(np.full(len(bounds), 0.1), np.array(bounds))).all()
