"""How independently an ensemble's members err, where the answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib.reports import estimates


@pytest.fixture
def draws():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(400, 50, generator=generator) for _ in range(4)]


def test_errors_that_two_members_share_are_what_correlates(draws):
    truth, shared, one, other = draws
    similarities = {"a": truth + shared + one, "b": truth + shared + other, "c": truth + one, "ensemble": truth}
    annotated = torch.zeros(400, 50)
    annotated[:50] = torch.eye(50)
    found = estimates.error_correlation(similarities, annotated, truth.numpy())
    assert list(found.index) == ["a", "b", "c"] and np.allclose(np.diag(found), 1)
    assert found.loc["a", "b"] == pytest.approx(1 / 2, abs=0.03)  # shared + one, and shared + other
    assert found.loc["a", "c"] == pytest.approx(0.5**0.5, abs=0.03)  # shared + one, and one
    assert abs(found.loc["b", "c"]) < 0.03  # shared + other, and one
    alone = estimates.error_correlation({"a": one, "b": other}, annotated, truth.numpy())
    assert abs(alone.loc["a", "b"]) < 0.03
    without = estimates.error_correlation({"a": truth + one, "b": truth + other}, annotated)
    assert without.loc["a", "b"] == pytest.approx(0.5, abs=0.03)


def test_annotated_pairs_do_not_count(draws):
    truth, one, other, _ = draws
    annotated = torch.zeros(400, 50)
    annotated[:200] = 1
    errors = estimates.error_correlation({"a": one, "b": other}, annotated)
    assert errors.loc["a", "b"] == pytest.approx(
        np.corrcoef(*((m - m.mean(0)).div(m.std(0, correction=0))[200:].numpy().ravel() for m in (one, other)))[0, 1],
        abs=1e-5,
    )


def test_the_sentence_says_range_and_gain():
    errors = pd.DataFrame([[1, 0.2, 0.4], [0.2, 1, 0.3], [0.4, 0.3, 1]], index=list("abc"), columns=list("abc"))
    judged = {
        name: {"annotated mAP@10": value}
        for name, value in zip([*"abc", "ensemble"], (0.1, 0.3, 0.2, 0.35), strict=True)
    }
    retrieval = pd.DataFrame.from_dict(judged, orient="index")
    said = estimates.independence(errors, retrieval)
    assert "correlate with 0.20 to 0.40" in said and "+5.0 points of annotated mAP@10 from its best member, b" in said
    assert estimates.independence(errors.iloc[:1, :1], retrieval) == ""
