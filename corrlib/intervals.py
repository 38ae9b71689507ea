"""Intervals and paired tests over clips: a clip's captions stay together, and every seed is its own sample.

Values come as a list with one array a seed (or one array), each with the group (clip) of every value. Within a seed
clips are resampled; the seeds' means are then averaged with equal weight.
"""
import numpy as np
import pandas as pd


def _sums(values, groups):
    """Sum of values and number of values of each group."""
    codes, _ = pd.factorize(np.asarray(groups))
    return np.bincount(codes, weights=np.asarray(values, np.float64)), np.bincount(codes).astype(np.float64)


def _as_lists(values, groups):
    if isinstance(values, (list, tuple)):
        if len(values) != len(groups):
            raise ValueError(f"{len(values)} arrays of values but {len(groups)} of groups; give one of each a seed")
        return list(values), list(groups)
    return [values], [groups]


def bootstrap_means(values, groups, resamples=2000, seed=0):
    """(resamples,) means under resampling of groups."""
    rng = np.random.default_rng(seed)
    means = []
    for value, group in zip(*_as_lists(values, groups), strict=True):
        total, count = _sums(value, group)
        draws = rng.multinomial(len(total), np.full(len(total), 1 / len(total)), size=resamples)
        means.append((draws @ total) / (draws @ count))
    return np.mean(means, axis=0)


def bootstrap_interval(values, groups, resamples=2000, seed=0, level=0.95):
    """(mean, low, high): percentile bootstrap over groups (Efron 1979)."""
    lists, _ = _as_lists(values, groups)
    means = bootstrap_means(values, groups, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean([np.mean(v) for v in lists])), float(low), float(high)


def paired_difference(a, b, groups, resamples=2000, seed=0, level=0.95):
    """(mean of a - b, low, high) over the same queries, by bootstrap over groups."""
    lists_a, lists_g = _as_lists(a, groups)
    lists_b, _ = _as_lists(b, groups)
    for x, y in zip(lists_a, lists_b, strict=True):
        if len(x) != len(y):
            raise ValueError(f"paired values differ in number ({len(x)} and {len(y)}); both must be of the same queries")
    return bootstrap_interval([np.asarray(x) - np.asarray(y) for x, y in zip(lists_a, lists_b, strict=True)],
                              lists_g, resamples, seed, level)


def randomisation_test(a, b, groups, resamples=2000, seed=0):
    """Two-sided p value of mean(a - b) under random exchange of a and b, clip by clip (Fisher; sign flips)."""
    lists_a, lists_g = _as_lists(a, groups)
    lists_b, _ = _as_lists(b, groups)
    rng, observed, drawn = np.random.default_rng(seed), [], []
    for x, y, g in zip(lists_a, lists_b, lists_g, strict=True):
        total, count = _sums(np.asarray(x) - np.asarray(y), g)
        signs = rng.integers(0, 2, (resamples, len(total))) * 2 - 1
        observed.append(total.sum() / count.sum())
        drawn.append((signs @ total) / count.sum())
    more = np.abs(np.mean(drawn, axis=0)) >= abs(np.mean(observed)) - 1e-15
    return float((1 + more.sum()) / (1 + resamples))


def holm(p_values):
    """p values adjusted for several comparisons (Holm 1979), in the order given."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted
