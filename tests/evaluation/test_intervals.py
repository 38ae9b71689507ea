"""Intervals and tests against loops, known sampling distributions, exact enumeration and invariants."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from corrlib.evaluation.intervals import (
    bootstrap_interval,
    bootstrap_means,
    holm,
    interval_over_seeds,
    paired_difference,
    randomisation_test,
)


def corpus(clips=80, captions=5, effect=0.0, seed=0):
    """(values, groups): queries of a clip share its difficulty."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(effect, 1, clips), captions) + rng.normal(0, 0.3, clips * captions)
    return values, np.repeat(np.arange(clips), captions)


def test_bootstrap_equals_a_loop_over_whole_clips():
    """Unequal captions a clip: the mean is over queries, so a clip counts by its number of them."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"clip {i}" for i in range(40)], rng.integers(1, 6, 40))
    values = rng.random(len(groups)) + pd.factorize(groups)[0] / 40
    parts = [values[groups == g] for g in np.unique(groups)]
    looped = [np.concatenate([parts[i] for i in rng.integers(0, 40, 40)]).mean() for _ in range(4000)]
    means = bootstrap_means(values, groups, resamples=4000)
    assert means.mean() == pytest.approx(np.mean(looped), abs=0.006)
    assert means.std() == pytest.approx(np.std(looped), rel=0.06)
    mean, low, high = bootstrap_interval(values, groups, resamples=4000)
    assert mean == pytest.approx(values.mean())
    assert [low, high] == pytest.approx(np.quantile(looped, [0.025, 0.975]).tolist(), abs=0.015)


def test_interval_knows_that_captions_of_a_clip_stay_together():
    """Five copies of a value tell no more than one: the interval is that of the clips."""
    values = np.random.default_rng(1).normal(0, 1, 100)
    once = bootstrap_interval(values, np.arange(100))
    copied = bootstrap_interval(np.repeat(values, 5), np.repeat(np.arange(100), 5))
    assert copied == pytest.approx(once)
    wrong = bootstrap_interval(np.repeat(values, 5), np.arange(500))
    assert wrong[2] - wrong[1] < 0.6 * (once[2] - once[1])
    assert once[2] - once[1] == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.06)  # normal theory


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    inside = 0
    for seed in range(300):
        values, groups = corpus(clips=60, captions=2, effect=0.5, seed=seed)
        _, low, high = bootstrap_interval(values, groups, resamples=300, seed=seed)
        inside += low <= 0.5 <= high
    assert 0.89 <= inside / 300 <= 0.985


def test_order_of_queries_and_names_of_clips_do_not_matter_and_seed_does():
    values, groups = corpus()
    shuffle = np.random.default_rng(0).permutation(len(values))
    mean, low, high = bootstrap_interval(values, groups)
    other = bootstrap_interval(values[shuffle], groups[shuffle])
    assert other == pytest.approx((mean, low, high), abs=0.02) and other[0] == pytest.approx(mean)
    assert bootstrap_interval(values, groups) == (mean, low, high)
    assert bootstrap_interval(values, groups, seed=1)[1] != low
    table = pd.DataFrame({"v": values, "g": groups})[1:]  # a Series whose index does not start at 0
    assert bootstrap_interval(table["v"], table["g"]) == bootstrap_interval(values[1:], groups[1:])


def test_several_seeds_are_strata_of_equal_weight():
    rng = np.random.default_rng(0)
    values, groups = np.stack([rng.normal(m, 1, 200) for m in (0, 5, 10)]), np.arange(200)
    mean, low, high = bootstrap_interval(values, groups)
    assert mean == pytest.approx(values.mean())
    stratified = 2 * 1.96 * np.sqrt(sum(v.var() / 200 for v in values)) / 3  # differences between seeds do not count
    assert high - low == pytest.approx(stratified, rel=0.06)
    assert bootstrap_interval(list(values), [groups] * 3) == (mean, low, high)
    uneven = bootstrap_interval([values[0], values[2][:50]], [groups, groups[:50]])
    assert uneven[0] == pytest.approx((values[0].mean() + values[2][:50].mean()) / 2)  # not by number of queries


def test_same_clips_are_not_taken_for_new_ones():
    """Three seeds that agree on every query know no more about other clips than one of them."""
    values, groups = corpus()
    one, three = bootstrap_interval(values, groups), np.stack([values] * 3)
    assert bootstrap_interval(three, groups, same_clips=True) == pytest.approx(one)
    narrow = bootstrap_interval(three, groups)
    assert (narrow[2] - narrow[1]) * 3**0.5 == pytest.approx(one[2] - one[1], rel=0.1)
    with pytest.raises(ValueError, match="same_clips"):
        bootstrap_interval([values, values], [groups, groups[::-1]], same_clips=True)


def test_paired_difference_cancels_what_queries_share():
    base, groups = corpus()
    better = base + 0.1 + np.random.default_rng(5).normal(0, 0.05, len(base))
    mean, low, high = paired_difference(better, base, groups)
    assert mean == pytest.approx((better - base).mean()) and 0.09 < low < mean < high < 0.11
    flipped = paired_difference(base, better, groups)
    assert flipped == pytest.approx((-mean, -high, -low))
    assert paired_difference([base, better], [base, better], [groups, groups]) == (0, 0, 0)


def test_randomisation_test_equals_the_exact_enumeration():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(10), [1, 2, 3, 1, 2, 3, 1, 2, 3, 4])
    a, b = rng.normal(0.35, 1, len(groups)), np.zeros(len(groups))
    total = np.bincount(groups, a)
    flips = np.array(list(itertools.product([-1, 1], repeat=10))) @ total
    exact = np.mean(np.abs(flips) >= abs(total.sum()) - 1e-12)
    assert 0.02 < exact < 0.9
    error = 5 * (exact * (1 - exact) / 10_000) ** 0.5
    assert randomisation_test(a, b, groups) == pytest.approx(exact, abs=error)
    assert randomisation_test(b, a, groups) == randomisation_test(a, b, groups)


def test_randomisation_test_is_right_where_nothing_differs_and_finds_what_does():
    ps = [randomisation_test(corpus(30, 3, seed=s)[0], np.zeros(90), corpus(30, 3)[1], 400, s) for s in range(300)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(ps) <= level) == pytest.approx(level, abs=4 * (level * (1 - level) / 300) ** 0.5)
    values, groups = corpus(effect=1.0)
    assert randomisation_test(values, np.zeros_like(values), groups, resamples=2000) == 1 / 2001
    assert randomisation_test(values, values, groups) == 1
    seeds = [corpus(seed=s, effect=0.3)[0] for s in range(4)]
    zeros = [np.zeros(400)] * 4
    assert randomisation_test(seeds, zeros, groups) < min(randomisation_test(s, zeros[0], groups) for s in seeds[1:3])


def test_interval_over_seeds_is_students_and_covers_as_often_as_it_says():
    """Tabled: t(0.975) is 4.3027 with 2 degrees of freedom, t(0.95) is 2.1318 with 4."""
    half = 4.3027 / 3**0.5
    assert interval_over_seeds([1, 2, 3]) == pytest.approx((2 - half, 2 + half), abs=1e-4)
    half = 2.1318 * 2.5**0.5 / 5**0.5
    assert interval_over_seeds([5, 1, 4, 2, 3], level=0.9) == pytest.approx((3 - half, 3 + half), abs=1e-4)
    drawn = [interval_over_seeds(x) for x in np.random.default_rng(0).normal(0.3, 2, (4000, 3))]
    assert np.mean([low <= 0.3 <= high for low, high in drawn]) == pytest.approx(0.95, abs=0.014)
    assert np.isnan(interval_over_seeds([0.4])).all()


def test_holm_against_a_worked_example_and_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1] and holm([0.2]).tolist() == [0.2]
    p = np.random.default_rng(0).random(8) ** 4
    for level in (0.01, 0.05, 0.3):
        order, rejected = np.argsort(p), set()
        for step, i in enumerate(order):
            if p[i] > level / (len(p) - step):
                break
            rejected.add(int(i))
        assert set(np.flatnonzero(holm(p) <= level).tolist()) == rejected
    with pytest.raises(ValueError, match="must lie in"):
        holm([0.1, 1.2])


def test_clotho_size_takes_seconds():
    values, groups = corpus(clips=1045)
    start = time.process_time()
    bootstrap_interval(values, groups)
    randomisation_test(values, np.zeros_like(values), groups, resamples=2000)
    assert time.process_time() - start < 3


def test_bad_input_names_the_culprit():
    values, groups = corpus()
    with pytest.raises(ValueError, match="name the clip of every value"):
        bootstrap_interval(values, groups[1:])
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_interval(np.where(groups == 3, np.nan, values), groups)
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_interval(values, np.zeros_like(groups))
    with pytest.raises(ValueError, match="paired values differ"):
        paired_difference(values, values[1:], groups)
