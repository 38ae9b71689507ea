"""How well an estimate of correspondence agrees with the truth, where the truth is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none
import torch

from corrlib.evaluation.checks import as_array, booleans, graded, real_numbers, refuse_below_one

Matrix = np.ndarray | torch.Tensor
UNEVEN = 1e-3  # by which a sum of probabilities may miss 1, in half precision and for many clips
_DIFFER = "estimated is {}, truth {} and annotated {}; all must be the same (clips, captions)"


def agreement(
    estimated: Matrix,
    truth: Matrix,
    annotated: Matrix,
    bins: int | Sequence[float] | None = None,
    judged: Matrix | None = None,
) -> dict[str, Any]:
    """How well an estimate agrees with the truth where nothing is annotated.

    estimated, truth, annotated: (clips, captions); only pairs that are not annotated count, and of them, where `judged`
    (clips, captions) is given, those of which it says that the truth is known. Returns a dict of
    `rank_correlation` (Spearman, ties averaged; mean over the captions whose truth varies, an estimate that does not
    vary counting as 0), `average_precision` (of wholly matching pairs, truth 1, ranked per caption, ties in row
    order; mean over the captions that have any), `chance` (the mean share of wholly matching clips of those captions:
    about what a random estimate's average precision is), the number of `captions` in each of the two means as
    `captions_correlated` and `captions_matched`, and, where `bins` is given, `calibration`, its table of these pairs.
    A mean over no captions is nan. ValueError where shapes differ, an estimate is not finite, a truth not in [0, 1] or
    an annotation neither true nor false.
    """
    estimated, truth, annotated = _checked(estimated, truth, annotated)
    counts = ~annotated
    if judged is not None:
        known = as_array(booleans(judged, "judged"))
        if known.shape != counts.shape:
            raise ValueError(f"judged is {known.shape} but truth {counts.shape}; both must be (clips, captions)")
        counts = counts & known
    correlations = _rank_correlations(estimated, truth, counts)
    precisions, chances = _average_precisions(estimated, truth, counts)
    measures: dict[str, Any] = {
        "rank_correlation": _mean(correlations),
        "average_precision": _mean(precisions),
        "chance": _mean(chances),
        "captions_correlated": len(correlations),
        "captions_matched": len(precisions),
    }
    if bins is not None:
        measures["calibration"] = calibration(estimated[counts], truth[counts], bins)
    return measures


def probability_mass(estimated: Matrix, truth: Matrix, annotated: Matrix) -> dict[str, float]:
    """Where an estimate's probability lies: shares of `annotated` pairs, and of others that match `wholly`, `partly`,
    `not`.

    estimated (clips, captions) sums to 1 over clips, as clip_given_caption does; truth in [0, 1]; annotated bool.
    The four shares, means over captions, sum to 1. ValueError as in `agreement`, and where an estimate does not sum to
    1 over clips.
    """
    estimated, truth, annotated = _checked(estimated, truth, annotated)
    estimated = estimated.astype(np.float64)
    if estimated.min() < 0 or np.abs(estimated.sum(0) - 1).max() > UNEVEN:
        raise ValueError("estimated holds no probabilities that sum to 1 over clips; give clip_given_caption")
    kinds = {
        "annotated": annotated,
        "wholly": ~annotated & (truth >= 1),
        "partly": ~annotated & (truth > 0) & (truth < 1),
        "not": ~annotated & (truth <= 0),
    }
    return {kind: float((estimated * where).sum(0).mean()) for kind, where in kinds.items()}


def _checked(estimated: Matrix, truth: Matrix, annotated: Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers = as_array(real_numbers(estimated, "estimated"))
    right, matches = as_array(graded(truth, "truth")), as_array(booleans(annotated, "annotated"))
    if not numbers.shape == right.shape == matches.shape:
        raise ValueError(_DIFFER.format(numbers.shape, right.shape, matches.shape))
    if numbers.ndim != 2 or not numbers.size:
        raise ValueError(f"estimated is {numbers.shape}; it must be (clips, captions), none of them 0")
    return numbers, right, matches


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _rank_correlations(guess: np.ndarray, right: np.ndarray, keep: np.ndarray, block: int = 512) -> list[float]:
    """Spearman's correlation of each column over the rows to keep, where `right` varies; 0 where only `guess` does
    not.
    """
    correlations = []
    for start in range(0, guess.shape[1], block):
        part = (slice(None), slice(start, start + block))
        kept = keep[part]
        centred = []
        for values in (guess, right):
            # what is left out ranks below everything: the ranks of the rest shift by a constant, which centring removes
            ranks = scipy.stats.rankdata(np.where(kept, values[part], -np.inf), axis=0)
            centred.append(np.where(kept, ranks - (ranks * kept).sum(0) / np.maximum(1, kept.sum(0)), 0))
        guessed, spread = (centred[0] ** 2).sum(0), (centred[1] ** 2).sum(0)
        varies = spread > 1e-9
        scale = np.sqrt(guessed * spread)[varies]
        both = (centred[0] * centred[1]).sum(0)[varies]
        correlations.append(np.divide(both, scale, out=np.zeros_like(scale), where=guessed[varies] > 1e-9))
    return list(np.concatenate(correlations))


def _average_precisions(
    guess: np.ndarray, right: np.ndarray, keep: np.ndarray, block: int = 512
) -> tuple[list[float], list[float]]:
    """Of each column that has a whole match among the rows to keep: its average precision, and the share of such
    rows.
    """
    precisions, chances, places = [], [], np.arange(1, len(guess) + 1)[:, None]
    for start in range(0, guess.shape[1], block):
        part = (slice(None), slice(start, start + block))
        order = np.argsort(np.where(keep[part], -guess[part], np.inf), axis=0, kind="stable")  # the others behind
        hits = np.take_along_axis(keep[part] & (right[part] >= 1), order, 0)
        count = hits.sum(0)
        some = count > 0
        precisions.append(((np.cumsum(hits, 0) / places * hits).sum(0) / np.maximum(1, count))[some])
        chances.append((count / np.maximum(1, keep[part].sum(0)))[some])
    return list(np.concatenate(precisions)), list(np.concatenate(chances))


def calibration(estimated: Matrix, truth: Matrix, bins: int | Sequence[float] = 10) -> pd.DataFrame:
    """Mean truth of pairs binned by their estimate (probability or similarity).

    estimated, truth: arrays of the same shape. bins: a number of bins between quantiles of the estimate (equal
    estimates stay in one bin, so there may be fewer), or their edges, of which each bin holds the lower and the last
    bin both. Returns a DataFrame with one row a bin that is not empty: `low, high, estimated, truth, pairs`.
    ValueError where there is no pair, an edge leaves one out, or a value or an edge is not finite.
    """
    guess = as_array(real_numbers(estimated, "estimated").double()).ravel()
    right = as_array(graded(truth, "truth").double()).ravel()
    if not len(guess) or len(guess) != len(right):
        raise ValueError(f"{len(guess)} estimates but {len(right)} truths; give one truth an estimate, at least one")
    if isinstance(bins, int):
        refuse_below_one(bins, "bins")
        bins = np.quantile(guess, np.linspace(0, 1, bins + 1)).tolist()
    edges = np.unique(np.asarray(bins, np.float64))
    if not len(edges) or not np.isfinite(edges).all():
        raise ValueError(f"bins is {bins!r}; it must be a number of bins, 1 or more, or their edges")
    if guess.min() < edges[0] or guess.max() > edges[-1]:
        raise ValueError(
            f"estimates reach from {guess.min():.4g} to {guess.max():.4g} but the edges from "
            f"{edges[0]:.4g} to {edges[-1]:.4g}; widen the edges so that no pair is left out"
        )
    last = max(len(edges) - 2, 0)  # a single edge: all estimates are equal
    codes = np.clip(np.searchsorted(edges, guess, side="right") - 1, 0, last)
    pairs = np.bincount(codes, minlength=last + 1)
    rows = pd.DataFrame(
        {
            "low": edges[: last + 1],
            "high": edges[min(1, len(edges) - 1) :][: last + 1],
            "estimated": np.bincount(codes, guess, last + 1) / np.maximum(pairs, 1),
            "truth": np.bincount(codes, right, last + 1) / np.maximum(pairs, 1),
            "pairs": pairs,
        }
    )
    return rows[rows["pairs"] > 0].reset_index(drop=True)
