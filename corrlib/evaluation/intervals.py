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

from functools import lru_cache

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none

AT_ONCE = 1000  # resamples in memory together


def _by_seed(x):
    """A list with one array (queries,) a seed."""
    if isinstance(x, (list, tuple)) and len(x) and np.ndim(x[0]) == 1:
        return [np.asarray(part) for part in x]
    return list(np.atleast_2d(np.asarray(x)))


def _strata(values, groups, same_clips):
    """[(sum of values, number of values) of each clip] for each seed: arrays (clips,), float64."""
    values, groups = [v.astype(np.float64) for v in _by_seed(values)], _by_seed(groups)
    groups = groups * len(values) if len(groups) == 1 else groups  # all seeds share them
    if [len(v) for v in values] != [len(g) for g in groups]:
        raise ValueError(
            f"{[len(v) for v in values]} values but {[len(g) for g in groups]} groups (by seed); "
            "name the clip of every value"
        )
    if not all(np.isfinite(v).all() for v in values):
        raise ValueError("values hold one that is not finite; every query needs a number")
    if same_clips:
        if any(len(g) != len(groups[0]) or (g != groups[0]).any() for g in groups):
            raise ValueError("same_clips needs the same clips in the same order for every seed; these differ")
        values, groups = [np.mean(values, axis=0)], groups[:1]
    strata = [_sums(v, g) for v, g in zip(values, groups, strict=True)]
    if min(len(total) for total, _ in strata) < 2:
        raise ValueError("there is only one clip (group); an interval or a test needs at least two")
    return strata


def _sums(values, groups):
    codes, _ = pd.factorize(groups)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(np.float64)


def _observed(strata):
    return float(np.mean([total.sum() / count.sum() for total, count in strata]))


def _difference(a, b):
    """a - b, seed by seed; both must be of the same queries."""
    a, b = _by_seed(a), _by_seed(b)
    if [len(x) for x in a] != [len(y) for y in b]:
        raise ValueError(
            f"paired values differ in number ({[len(x) for x in a]} and {[len(y) for y in b]} by seed); "
            "both must be of the same queries"
        )
    return [x.astype(np.float64) - y for x, y in zip(a, b, strict=True)]


def bootstrap_means(values, groups, resamples=2000, seed=0, same_clips=False):
    """(resamples,) means with clips drawn with replacement, each bringing all its queries."""
    strata = _strata(values, groups, same_clips)
    drawn = _times_drawn(tuple(len(total) for total, _ in strata), resamples, seed)
    means = [
        np.concatenate([(part @ total) / (part @ count) for part in map(np.float64, parts)])
        for parts, (total, count) in zip(drawn, strata, strict=True)
    ]
    return np.mean(means, axis=0)


@lru_cache(maxsize=2)  # a study asks for the same draws again and again, for each measure and comparison
def _times_drawn(sizes, resamples, seed):
    """For each stratum parts (resamples, clips): how often each clip is drawn."""
    rng = np.random.default_rng(seed)
    return [
        [rng.multinomial(clips, np.full(clips, 1 / clips), size=size).astype(np.uint16) for size in _parts(resamples)]
        for clips in sizes
    ]


@lru_cache(maxsize=2)
def _signs(sizes, resamples, seed):
    """For each stratum parts (resamples, clips) of -1 and 1."""
    rng = np.random.default_rng(seed)
    return [[2 * rng.integers(0, 2, (size, clips), np.int8) - 1 for size in _parts(resamples)] for clips in sizes]


def _parts(resamples):
    return [min(AT_ONCE, resamples - start) for start in range(0, resamples, AT_ONCE)]


def bootstrap_interval(values, groups, resamples=2000, seed=0, level=0.95, same_clips=False):
    """(mean, low, high): percentile bootstrap over clips (Efron 1979)."""
    means = bootstrap_means(values, groups, resamples, seed, same_clips)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return _observed(_strata(values, groups, same_clips)), float(low), float(high)


def paired_difference(a, b, groups, resamples=2000, seed=0, level=0.95, same_clips=False):
    """(mean of a - b, low, high) over the same queries, by bootstrap over clips."""
    return bootstrap_interval(_difference(a, b), groups, resamples, seed, level, same_clips)


def randomisation_test(a, b, groups, resamples=10_000, seed=0, same_clips=False):
    """Two-sided p value of mean(a - b): a and b of a clip, with all its queries, change places at random (Fisher).

    The observed order counts as one of the resamples, so p is never 0 and at least 1 / (resamples + 1).
    """
    strata = _strata(_difference(a, b), groups, same_clips)
    signs = _signs(tuple(len(total) for total, _ in strata), resamples, seed)
    drawn = [
        np.concatenate([part @ total for part in map(np.float64, parts)]) / count.sum()
        for parts, (total, count) in zip(signs, strata, strict=True)
    ]
    observed = abs(_observed(strata))
    more = np.abs(np.mean(drawn, axis=0)) >= observed * (1 - 1e-12)  # equal but for rounding counts
    return float((1 + more.sum()) / (1 + resamples))


def interval_over_seeds(means, level=0.95):
    """(low, high) of the mean of one value a seed, by Student's t with seeds - 1 degrees of freedom; nan for one seed.

    Each seed is taken as a repetition of all that it draws: initialisation and order of training, and the corpus where
    it has its own. So this covers another course of training, of which an interval over clips knows nothing.
    """
    means = np.asarray(means, np.float64)
    if len(means) < 2:
        return np.nan, np.nan
    half = scipy.stats.t.ppf((1 + level) / 2, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean() - half), float(means.mean() + half)


def holm(p_values):
    """p values adjusted for several comparisons (Holm 1979), in the order given; reject where below the level."""
    p = np.asarray(p_values, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values must lie in [0, 1]; got {p.tolist()}")
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted
