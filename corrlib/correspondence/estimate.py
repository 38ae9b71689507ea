"""From an ensemble of stage-1 models to estimated correspondences of clips and captions (section 2.2).

Embeddings are unit length, one (clips, E_m) and one (captions, E_m) a member; members may differ in E_m.
"""

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none
import torch

from corrlib.models.precision import full_precision

COMBINE = ("mean_similarity", "mean_probability", "geometric_mean", "rank_mean", "best")


def estimate(teacher_similarities, temperature, combine="mean_similarity", weights=None):
    """Estimated correspondences of every clip and caption.

    teacher_similarities (M, clips, captions) in [-1, 1]; weights (M,) of the members, equal if not given.
    combine: `mean_similarity` (the paper: average, then softmax), `mean_probability` (softmax, then average),
    `geometric_mean` (of the members' probabilities, renormalised; equal to mean_similarity, because a softmax's
    normaliser is constant along its axis), `rank_mean` (mean of 1 / rank, normalised; knows no temperature) and
    `best` (the one member of greatest weight: give its validation score as weight).
    Returns (clip_given_caption, caption_given_clip), each (clips, captions), summing to 1 over clips / captions.
    """
    if combine not in COMBINE:
        raise ValueError(f"unknown way to combine members '{combine}'; known: {', '.join(COMBINE)}")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be greater than 0")
    members = torch.as_tensor(teacher_similarities)
    if members.ndim != 3:
        raise ValueError(f"teacher_similarities is {tuple(members.shape)}; it must be (members, clips, captions)")
    members = full_precision(members)
    if combine == "best":
        if weights is None:
            raise ValueError("combine 'best' needs weights, such as each member's validation mAP@10")
        members, combine, weights = members[_shares(weights, members).argmax()][None], "mean_similarity", None
    shares = _shares(weights, members)[:, None, None]
    return tuple(_combined(members, temperature, combine, shares, axis) for axis in (1, 2))


def _shares(weights, members):
    """Weights (M,) that sum to 1, in the members' precision and on their device."""
    if weights is None:
        return members[0].new_full((len(members),), 1 / len(members))
    shares = torch.as_tensor(weights).to(members[0])
    if shares.shape != (len(members),) or not bool((shares >= 0).all() and shares.sum() > 0):
        raise ValueError(f"weights must be {len(members)} numbers, none negative and not all 0; got {shares.tolist()}")
    return shares / shares.sum()


def _combined(members, temperature, combine, shares, axis):
    if combine == "mean_similarity":
        return ((shares * members).sum(0) / temperature).softmax(axis - 1)
    if combine == "mean_probability":
        return (shares * (members / temperature).softmax(axis)).sum(0)
    if combine == "geometric_mean":
        return (shares * (members / temperature).log_softmax(axis)).sum(0).softmax(axis - 1)
    ranks = members.argsort(dim=axis, descending=True, stable=True).argsort(dim=axis) + 1
    scores = (shares / ranks).sum(0)
    return scores / scores.sum(axis - 1, keepdim=True)


def member_similarities(clip_embeddings, caption_embeddings, clip_index, caption_index):
    """Similarity (M, B, C) of a block under each member; the arguments are those of `ensemble_similarity`."""
    _check_members(clip_embeddings, caption_embeddings)
    return torch.stack(
        [
            clips[clip_index] @ captions[caption_index].T
            for clips, captions in zip(clip_embeddings, caption_embeddings, strict=True)
        ]
    )


def ensemble_similarity(clip_embeddings, caption_embeddings, clip_index, caption_index, weights=None):
    """Mean similarity (B, C) of a block, from stored embeddings alone.

    clip_embeddings, caption_embeddings: lists with one (N, E_m) and one (captions, E_m) a member;
    clip_index (B,), caption_index (C,): row numbers in them; weights (M,), equal if not given.
    """
    members = member_similarities(clip_embeddings, caption_embeddings, clip_index, caption_index)
    return (_shares(weights, members)[:, None, None] * members).sum(0)


def _check_members(clip_embeddings, caption_embeddings):
    if not len(clip_embeddings) or len(clip_embeddings) != len(caption_embeddings):
        raise ValueError(
            f"{len(clip_embeddings)} members' clip embeddings but {len(caption_embeddings)} of captions; "
            "give one of each for at least one member"
        )
    for kind, embeddings in (("clip", clip_embeddings), ("caption", caption_embeddings)):
        rows = [len(e) for e in embeddings]
        if len(set(rows)) > 1:
            raise ValueError(f"the members' {kind} embeddings have {rows} rows; all must be of the same corpus")


def top_correspondences(clip_embeddings, caption_embeddings, temperature, k, block=1024, weights=None):
    """For every caption the k most probable clips under mean-similarity estimation, block by block.

    Returns (probability (captions, k), clip (captions, k)), most probable first. The probabilities are normalised
    over all clips, although no more than block x (block + k) similarities exist at a time: a running log-sum-exp keeps
    the normaliser and each block's best are merged with the best so far, so the result is exact.
    """
    _check_members(clip_embeddings, caption_embeddings)
    clips, captions = len(clip_embeddings[0]), len(caption_embeddings[0])
    if not 1 <= k <= clips:
        raise ValueError(f"k is {k}; with {clips} clips it must be from 1 to {clips}")
    shares = _shares(weights, [full_precision(members[:1]) for members in clip_embeddings]) / temperature
    found = [
        _top_of_block(
            clip_embeddings,
            [
                share * full_precision(members[start : start + block])
                for share, members in zip(shares, caption_embeddings, strict=True)
            ],
            k,
            block,
        )
        for start in range(0, captions, block)
    ]
    return torch.cat([p for p, _ in found]), torch.cat([i for _, i in found])


def _top_of_block(clip_embeddings, caption_parts, k, block):
    """(probability (captions, k), clip (captions, k)) of some captions, whose parts are scaled to give logits."""
    captions = torch.cat(caption_parts, 1)  # the mean of inner products is one of the members side by side
    best, where = captions.new_empty(len(captions), 0), torch.empty(len(captions), 0, dtype=torch.long)
    logsum = captions.new_full((len(captions),), -torch.inf)
    for start in range(0, len(clip_embeddings[0]), block):
        logits = (
            captions @ torch.cat([full_precision(members[start : start + block]) for members in clip_embeddings], 1).T
        )
        logsum = torch.logaddexp(logsum, logits.logsumexp(1))
        rows = torch.arange(start, start + logits.shape[1]).expand(len(logits), -1)
        if best.shape[1] < k:
            best, where = _merge(best, where, logits, rows, k)
            continue
        better = (logits.amax(1) > best[:, -1]).nonzero()[:, 0]  # fewer and fewer, the more was seen
        best[better], where[better] = _merge(best[better], where[better], logits[better], rows[better], k)
    return (best - logsum[:, None]).exp(), where


def _merge(best, where, logits, rows, k):
    """The k greatest of two sets a row, and where they are."""
    everything = torch.cat([best, logits], 1)
    best, order = everything.topk(min(k, everything.shape[1]), dim=1)
    return best, torch.cat([where, rows], 1).gather(1, order)


def agreement(estimated, truth, annotated, bins=None):
    """How well an estimate agrees with the truth where nothing is annotated.

    estimated, truth, annotated: (clips, captions); only pairs that are not annotated count. Returns a dict of
    `rank_correlation` (Spearman, ties averaged; mean over the captions whose truth varies, an estimate that does not
    vary counting as 0), `average_precision` (of wholly matching pairs, truth 1, ranked per caption, ties in row
    order; mean over the captions that have any), `chance` (the mean share of wholly matching clips of those captions:
    about what a random estimate's average precision is), the number of `captions` in each of the two means as
    `captions_correlated` and `captions_matched`, and, where `bins` is given, `calibration`, its table of these pairs.
    A mean over no captions is nan.
    """
    estimated, truth, annotated = np.asarray(estimated), np.asarray(truth), np.asarray(annotated, bool)
    if not estimated.shape == truth.shape == annotated.shape:
        raise ValueError(
            f"estimated is {estimated.shape}, truth {truth.shape} and annotated {annotated.shape}; "
            "all must be the same (clips, captions)"
        )
    if not (np.isfinite(estimated).all() and np.isfinite(truth).all()):
        raise ValueError("estimated or truth holds a value that is not finite; nothing can be ranked by it")
    correlations = _rank_correlations(estimated, truth, ~annotated)
    precisions, chances = _average_precisions(estimated, truth, ~annotated)
    found: dict = {
        "rank_correlation": _mean(correlations),
        "average_precision": _mean(precisions),
        "chance": _mean(chances),
        "captions_correlated": len(correlations),
        "captions_matched": len(precisions),
    }
    if bins is not None:
        found["calibration"] = calibration(estimated[~annotated], truth[~annotated], bins)
    return found


def probability_mass(estimated, truth, annotated):
    """Where an estimate's probability lies: shares of `annotated` pairs, and of others that match `wholly`, `partly`,
    `not`.

    estimated (clips, captions) sums to 1 over clips, as clip_given_caption does; truth in [0, 1]; annotated bool.
    The four shares, means over captions, sum to 1.
    """
    estimated, truth, annotated = np.asarray(estimated, np.float64), np.asarray(truth), np.asarray(annotated, bool)
    kinds = {
        "annotated": annotated,
        "wholly": ~annotated & (truth >= 1),
        "partly": ~annotated & (truth > 0) & (truth < 1),
        "not": ~annotated & (truth <= 0),
    }
    return {kind: float((estimated * where).sum(0).mean()) for kind, where in kinds.items()}


def _mean(values):
    return float(np.mean(values)) if values else float("nan")


def _rank_correlations(guess, right, keep, block=512):
    """Spearman's correlation of each column over the rows to keep, where `right` varies; 0 where only `guess` does
    not.
    """
    found = []
    for start in range(0, guess.shape[1], block):
        part = (slice(None), slice(start, start + block))
        kept = keep[part]
        centred = []
        for x in (guess, right):
            # what is left out ranks below everything: the ranks of the rest shift by a constant, which centring removes
            ranks = scipy.stats.rankdata(np.where(kept, x[part], -np.inf), axis=0)
            centred.append(np.where(kept, ranks - (ranks * kept).sum(0) / np.maximum(1, kept.sum(0)), 0))
        guessed, spread = (centred[0] ** 2).sum(0), (centred[1] ** 2).sum(0)
        varies = spread > 1e-9
        scale = np.sqrt(guessed * spread)[varies]
        both = (centred[0] * centred[1]).sum(0)[varies]
        found.append(np.divide(both, scale, out=np.zeros_like(scale), where=guessed[varies] > 1e-9))
    return list(np.concatenate(found))


def _average_precisions(guess, right, keep, block=512):
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


def calibration(estimated, truth, bins=10):
    """Mean truth of pairs binned by their estimate (probability or similarity).

    estimated, truth: arrays of the same shape. bins: a number of bins between quantiles of the estimate (equal
    estimates stay in one bin, so there may be fewer), or their edges, of which each bin holds the lower and the last
    bin both. Returns a DataFrame with one row a bin that is not empty: `low, high, estimated, truth, pairs`.
    """
    guess, right = np.asarray(estimated, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    if not len(guess) or len(guess) != len(right):
        raise ValueError(f"{len(guess)} estimates but {len(right)} truths; give one truth an estimate, at least one")
    edges = np.unique(np.quantile(guess, np.linspace(0, 1, bins + 1)) if isinstance(bins, int) else bins)
    if guess.min() < edges[0] or guess.max() > edges[-1]:
        raise ValueError(
            f"estimates reach from {guess.min():.4g} to {guess.max():.4g} but the edges from "
            f"{edges[0]:.4g} to {edges[-1]:.4g}; widen the edges so that no pair is left out"
        )
    last = max(len(edges) - 2, 0)  # a single edge: all estimates are equal
    codes = np.clip(np.searchsorted(edges, guess, side="right") - 1, 0, last)
    pairs = np.bincount(codes, minlength=last + 1)
    table = pd.DataFrame(
        {
            "low": edges[: last + 1],
            "high": edges[min(1, len(edges) - 1) :][: last + 1],
            "estimated": np.bincount(codes, guess, last + 1) / np.maximum(pairs, 1),
            "truth": np.bincount(codes, right, last + 1) / np.maximum(pairs, 1),
            "pairs": pairs,
        }
    )
    return table[table["pairs"] > 0].reset_index(drop=True)
