"""How well estimates agree with the truth, against scipy and written-out loops."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from corrlib.correspondence.quality import agreement, calibration, probability_mass


def known_truth():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (30, 60)) / 3
    annotated = np.arange(30)[:, None] == np.arange(60) // 2
    truth[annotated] = 1
    return truth, annotated, rng


def test_agreement_of_the_truth_with_itself_and_its_reverse():
    truth, annotated, _ = known_truth()
    same, reverse = agreement(truth, truth, annotated, bins=10), agreement(-truth, truth, annotated)
    assert same["rank_correlation"] == pytest.approx(1) and same["average_precision"] == 1
    assert reverse["rank_correlation"] == pytest.approx(-1) and reverse["average_precision"] < same["chance"]
    assert same["captions_correlated"] == same["captions_matched"] == 60 and "calibration" not in reverse
    np.testing.assert_allclose(same["calibration"]["truth"], same["calibration"]["estimated"])


def test_agreement_ignores_annotated_pairs_and_scale():
    truth, annotated, rng = known_truth()
    guess = truth + rng.normal(0, 0.3, truth.shape)
    found = agreement(guess, truth, annotated, bins=10)
    changed = agreement(np.where(annotated, -99, guess), np.where(annotated, 0, truth), annotated, bins=10)
    scaled = agreement(np.exp(guess), truth, annotated)
    for name in ("rank_correlation", "average_precision", "chance"):
        assert found[name] == pytest.approx(changed[name]) == pytest.approx(scaled[name])
    assert found["calibration"].equals(changed["calibration"])
    assert found["chance"] < found["average_precision"] < 1 and 0 < found["rank_correlation"] < 1


@pytest.mark.parametrize("known", [1.0, 0.4], ids=["all", "some that were judged"])
def test_agreement_equals_scipy_and_a_loop(known):
    truth, annotated, rng = known_truth()
    guess = rng.random(truth.shape)
    judged = rng.random(truth.shape) < known
    keep = ~annotated & judged
    expected, precisions = [], []
    for j in range(60):
        g, t = guess[keep[:, j], j], truth[keep[:, j], j]
        expected.append(spearmanr(g, t).statistic)
        hits = [t[i] == 1 for i in sorted(range(len(g)), key=lambda i: -g[i])]
        if any(hits):
            precisions.append(np.mean([sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]))
    found = agreement(guess, truth, annotated, judged=judged)
    assert found["rank_correlation"] == pytest.approx(np.mean(expected))
    assert found["average_precision"] == pytest.approx(np.mean(precisions))


def test_agreement_where_nothing_can_be_said():
    eye = np.eye(4)
    found = agreement(np.random.default_rng(0).random((4, 4)), eye, eye)  # only annotated pairs match at all
    assert np.isnan(found["rank_correlation"]) and np.isnan(found["average_precision"]) and np.isnan(found["chance"])
    truth, annotated, _ = known_truth()
    assert agreement(np.zeros_like(truth), truth, annotated)["rank_correlation"] == 0  # an estimate without opinion
    with pytest.raises(ValueError, match="not finite"):
        agreement(truth * np.nan, truth, annotated)
    with pytest.raises(ValueError, match="same \\(clips, captions\\)"):
        agreement(truth[:, 1:], truth, annotated)


def test_calibration_tables():
    rng = np.random.default_rng(0)
    guess = rng.random((100, 200))
    hits = rng.random(guess.shape) < guess  # calibrated by construction
    table = calibration(guess, hits, bins=20)
    assert table["pairs"].tolist() == [1000] * 20 and (table["low"] < table["estimated"]).all()
    np.testing.assert_allclose(table["truth"], table["estimated"], atol=5 * 0.5 / 1000**0.5)
    edged = calibration(guess, hits, bins=[0, 0.5, 0.9, 1])
    for row in edged.itertuples():
        inside = (guess >= row.low) & (guess < row.high)
        assert row.pairs == inside.sum() and row.truth == pytest.approx(hits[inside].mean())
        assert row.estimated == pytest.approx(guess[inside].mean())
    assert edged["pairs"].sum() == guess.size


def test_calibration_keeps_equal_estimates_together_and_every_pair():
    table = calibration(np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 0, 1, 1, 1]), bins=4)
    assert table["pairs"].sum() == 8 and table["truth"].tolist() == pytest.approx([1 / 6, 1])
    on_edge = calibration(np.array([0, 0.5, 0.5, 1]), np.array([0, 1, 1, 1]), bins=[0, 0.5, 1])
    assert on_edge["pairs"].tolist() == [1, 3]  # a bin holds its lower edge
    constant = calibration(np.full(5, 0.3), np.arange(5) / 4)
    assert constant["pairs"].tolist() == [5] and constant["truth"].tolist() == [0.5]
    with pytest.raises(ValueError, match="widen the edges"):
        calibration(np.array([0.1, 0.9]), np.array([0, 1]), bins=[0, 0.5])


@pytest.mark.parametrize("measure", [agreement, probability_mass])
def test_matrices_of_different_shapes_are_refused(measure):
    truth, annotated, _ = known_truth()
    with pytest.raises(ValueError, match="all must be the same"):
        measure(truth[:1], truth, annotated)  # numpy would stretch it
