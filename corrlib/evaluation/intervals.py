"""Intervals and paired tests over clips: a clip's captions stay together, as they rise and fall together.

`values` are per-query measures and `groups` names the clip of every query. For one seed both are (queries,). For
several seeds give values (seeds, queries), or a list with one array a seed where the seeds differ in length; groups
are then the same, or (queries,) if all seeds share them. Every seed is a stratum: clips are resampled within
each seed, and the seeds' means averaged with equal weight. That is right where every seed has its own corpus. Where
all seeds are judged on the same clips, say same_clips=True: values are then averaged over seeds first, because
drawing the same clips anew for each seed would make intervals too narrow.

The seeds themselves are not resampled: an interval is about other clips, not about other seeds. `interval_over_seeds`
is about other seeds, and about other clips where every seed has its own corpus.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none
from numpy.typing import ArrayLike

from corrlib.evaluation.checks import refuse_below_one

AT_ONCE = 1000  # resamples in memory together
BySeed = np.ndarray | Sequence  # (queries,), (seeds, queries), or one array (queries,) a seed
Strata = list[tuple[np.ndarray, np.ndarray]]  # of each seed: sum and number of values of each clip (clips,), float64


def _by_seed(values: BySeed) -> list[np.ndarray]:
    """A list with one array (queries,) a seed."""
    if isinstance(values, (list, tuple)) and len(values) and np.ndim(values[0]) == 1:
        return [np.asarray(part) for part in values]
    return list(np.atleast_2d(np.asarray(values)))


def _real(values: BySeed, name: str) -> list[np.ndarray]:
    """As `_by_seed`, in float64; ValueError where they are no real numbers, or not finite."""
    parts = _by_seed(values)
    if any(part.ndim != 1 or part.dtype.kind not in "fiub" for part in parts):
        raise ValueError(f"{name} must be real numbers, (queries,) or (seeds, queries)")
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError(f"{name} hold one that is not finite; every query needs a number")
    return [part.astype(np.float64) for part in parts]


def _refuse_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, as 0.95 does")


def _strata(values: BySeed, groups: BySeed, same_clips: bool) -> Strata:
    """Sum and number of the values of each clip, for each seed."""
    measures, clips = _real(values, "values"), _by_seed(groups)
    clips = clips * len(measures) if len(clips) == 1 else clips  # all seeds share them
    numbers, named = [len(part) for part in measures], [len(part) for part in clips]
    if numbers != named:
        raise ValueError(f"{numbers} values but {named} groups (by seed); name the clip of every value")
    if any(pd.isna(part).any() for part in clips):
        raise ValueError("groups hold one that is missing; name the clip of every value")
    if same_clips:
        if any(len(part) != len(clips[0]) or (part != clips[0]).any() for part in clips):
            raise ValueError("same_clips needs the same clips in the same order for every seed; these differ")
        measures, clips = [np.mean(measures, axis=0)], clips[:1]
    strata = [_sums(part, names) for part, names in zip(measures, clips, strict=True)]
    if min(len(total) for total, _ in strata) < 2:
        raise ValueError("there is only one clip (group); an interval or a test needs at least two")
    return strata


def _sums(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, _ = pd.factorize(groups)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(np.float64)


def _observed(strata: Strata) -> float:
    """Mean over seeds of the mean over queries."""
    return float(np.mean([total.sum() / count.sum() for total, count in strata]))


def _difference(a: BySeed, b: BySeed) -> list[np.ndarray]:
    """a - b, seed by seed; both must be of the same queries."""
    firsts, seconds = _real(a, "a"), _real(b, "b")
    numbers = [len(first) for first in firsts], [len(second) for second in seconds]
    if numbers[0] != numbers[1]:
        raise ValueError(
            f"paired values differ in number ({numbers[0]} and {numbers[1]} by seed); both must be of the same queries"
        )
    return [first - second for first, second in zip(firsts, seconds, strict=True)]


def bootstrap_means(
    values: BySeed, groups: BySeed, resamples: int = 2000, seed: int = 0, same_clips: bool = False
) -> np.ndarray:
    """(resamples,) means with clips drawn with replacement, each bringing all its queries.

    values, groups, same_clips: see the top of this file. ValueError where they do not go together, a value is not
    finite, there is only one clip, or resamples is below 1; so in every function here.
    """
    refuse_below_one(resamples, "resamples")
    strata = _strata(values, groups, same_clips)
    drawn = _times_drawn(tuple(len(total) for total, _ in strata), resamples, seed)
    means = [
        np.concatenate([(part @ total) / (part @ count) for part in map(np.float64, parts)])
        for parts, (total, count) in zip(drawn, strata, strict=True)
    ]
    return np.mean(means, axis=0)


@lru_cache(maxsize=2)  # a study asks for the same draws again and again, for each measure and comparison
def _times_drawn(sizes: tuple[int, ...], resamples: int, seed: int) -> list[list[np.ndarray]]:
    """For each stratum parts (resamples, clips): how often each clip is drawn."""
    rng = np.random.default_rng(seed)
    return [
        [rng.multinomial(clips, np.full(clips, 1 / clips), size=size).astype(np.uint16) for size in _parts(resamples)]
        for clips in sizes
    ]


@lru_cache(maxsize=2)
def _signs(sizes: tuple[int, ...], resamples: int, seed: int) -> list[list[np.ndarray]]:
    """For each stratum parts (resamples, clips) of -1 and 1."""
    rng = np.random.default_rng(seed)
    return [[2 * rng.integers(0, 2, (size, clips), np.int8) - 1 for size in _parts(resamples)] for clips in sizes]


def _parts(resamples: int) -> list[int]:
    """So many resamples, in numbers that fit into memory together."""
    return [min(AT_ONCE, resamples - start) for start in range(0, resamples, AT_ONCE)]


def bootstrap_interval(
    values: BySeed,
    groups: BySeed,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    same_clips: bool = False,
) -> tuple[float, float, float]:
    """(mean, low, high): percentile bootstrap over clips (Efron 1979). Arguments as in `bootstrap_means`."""
    _refuse_level(level)
    means = bootstrap_means(values, groups, resamples, seed, same_clips)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return _observed(_strata(values, groups, same_clips)), float(low), float(high)


def paired_difference(
    a: BySeed,
    b: BySeed,
    groups: BySeed,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    same_clips: bool = False,
) -> tuple[float, float, float]:
    """(mean of a - b, low, high) over the same queries, by bootstrap over clips. ValueError where the queries of a and
    b differ in number.
    """
    return bootstrap_interval(_difference(a, b), groups, resamples, seed, level, same_clips)


def randomisation_test(
    a: BySeed, b: BySeed, groups: BySeed, resamples: int = 10_000, seed: int = 0, same_clips: bool = False
) -> float:
    """Two-sided p value of mean(a - b): a and b of a clip, with all its queries, change places at random (Fisher).

    The observed order counts as one of the resamples, so p is never 0 and at least 1 / (resamples + 1).
    """
    refuse_below_one(resamples, "resamples")
    strata = _strata(_difference(a, b), groups, same_clips)
    signs = _signs(tuple(len(total) for total, _ in strata), resamples, seed)
    drawn = [
        np.concatenate([part @ total for part in map(np.float64, parts)]) / count.sum()
        for parts, (total, count) in zip(signs, strata, strict=True)
    ]
    observed = abs(_observed(strata))
    more = np.abs(np.mean(drawn, axis=0)) >= observed * (1 - 1e-12)  # equal but for rounding counts
    return float((1 + more.sum()) / (1 + resamples))


def interval_over_seeds(means: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """(low, high) of the mean of one value a seed, by Student's t with seeds - 1 degrees of freedom; nan for one seed.

    Each seed is taken as a repetition of all that it draws: initialisation and order of training, and the corpus where
    it has its own. So this covers another course of training, of which an interval over clips knows nothing.
    ValueError where a mean is not finite.
    """
    _refuse_level(level)
    (values,) = _real(np.ravel(means), "means")
    if len(values) < 2:
        return np.nan, np.nan
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def holm(p_values: ArrayLike) -> np.ndarray:
    """p values adjusted for several comparisons (Holm 1979), in the order given; reject where below the level.

    ValueError where one is outside [0, 1].
    """
    (p,) = _real(np.ravel(np.asarray(p_values)), "p values")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values must lie in [0, 1]; got {p.tolist()}")
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted
