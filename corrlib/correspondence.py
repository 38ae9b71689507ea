"""From an ensemble of stage-1 models to estimated correspondences of clips and captions (paper, section 2.2)."""
import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

COMBINE = ("mean_similarity", "mean_probability", "geometric_mean", "rank_mean")


def estimate(teacher_similarities, temperature, combine="mean_similarity", weights=None):
    """Estimated correspondences of every clip and caption.

    teacher_similarities (M, clips, captions) in [-1, 1]; weights (M,) of the members, equal if not given.
    combine: `mean_similarity` (the paper: average, then softmax), `mean_probability` (softmax, then average),
    `geometric_mean` (of the members' probabilities, renormalised), `rank_mean` (mean reciprocal rank).
    Returns (clip_given_caption, caption_given_clip), each (clips, captions), summing to 1 over clips / captions.
    """
    if combine not in COMBINE:
        raise ValueError(f"unknown way to combine members '{combine}'; known: {', '.join(COMBINE)}")
    members = torch.as_tensor(teacher_similarities)
    weights = torch.ones(len(members)) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    weights = (weights / weights.sum()).to(members.dtype)[:, None, None]
    return tuple(_combined(members, temperature, combine, weights, axis) for axis in (1, 2))


def _combined(members, temperature, combine, weights, axis):
    if combine == "mean_similarity":
        return ((weights * members).sum(0) / temperature).softmax(axis - 1)
    if combine == "mean_probability":
        return (weights * (members / temperature).softmax(axis)).sum(0)
    if combine == "geometric_mean":
        return (weights * (members / temperature).log_softmax(axis)).sum(0).softmax(axis - 1)
    ranks = members.argsort(axis, descending=True).argsort(axis) + 1
    scores = (weights / ranks).sum(0)
    return scores / scores.sum(axis - 1, keepdim=True)


def ensemble_similarity(clip_embeddings, caption_embeddings, clip_index, caption_index):
    """Mean similarity (B, C) of a block, from each member's embeddings: lists of (N, E_m) and (captions, E_m)."""
    blocks = [c[clip_index] @ t[caption_index].T for c, t in zip(clip_embeddings, caption_embeddings, strict=True)]
    return torch.stack(blocks).mean(0)


def top_correspondences(clip_embeddings, caption_embeddings, temperature, k, block=1024):
    """For every caption the k most probable clips under mean-similarity estimation, block by block.

    Returns (probability (captions, k), clip (captions, k)). The probabilities are normalised over all clips
    although no more than block x block similarities exist at a time.
    """
    clips, captions = len(clip_embeddings[0]), len(caption_embeddings[0])
    found = [_top_of_block(clip_embeddings, caption_embeddings, torch.arange(start, min(start + block, captions)),
                           temperature, min(k, clips), block) for start in range(0, captions, block)]
    return torch.cat([p for p, _ in found]), torch.cat([i for _, i in found])


def _top_of_block(clip_embeddings, caption_embeddings, columns, temperature, k, block):
    clips = len(clip_embeddings[0])
    logsum, best, where = torch.full((len(columns),), -torch.inf), None, None
    for start in range(0, clips, block):
        rows = torch.arange(start, min(start + block, clips))
        logits = ensemble_similarity(clip_embeddings, caption_embeddings, rows, columns).T / temperature
        logsum = torch.logaddexp(logsum, logits.logsumexp(1))
        index = rows.expand(len(columns), -1)
        if best is not None:
            logits, index = torch.cat([best, logits], 1), torch.cat([where, index], 1)
        best, order = logits.topk(min(k, logits.shape[1]), dim=1)
        where = index.gather(1, order)
    return (best - logsum[:, None]).exp(), where


def agreement(estimated, truth, annotated):
    """How well an estimate agrees with the truth where nothing is annotated.

    estimated, truth, annotated: (clips, captions); only pairs that are not annotated count. Returns
    `rank_correlation` (Spearman, mean over captions with more than one truth value), `partial_average_precision`
    (of wholly matching pairs, truth 1, ranked per caption; mean over captions that have any) and `chance` (the mean
    share of wholly matching clips: what a random estimate's average precision would be).
    """
    estimated, truth = np.asarray(estimated, np.float64), np.asarray(truth, np.float64)
    correlations, precisions, chances = [], [], []
    for column, keep in enumerate(~np.asarray(annotated, bool).T):
        guess, right = estimated[keep, column], truth[keep, column]
        if right.min() < right.max():
            correlations.append(np.corrcoef(rankdata(guess), rankdata(right))[0, 1])
        whole = right >= 1
        if whole.any():
            hits = whole[np.argsort(-guess, kind="stable")]
            precisions.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
            chances.append(whole.mean())
    return {"rank_correlation": float(np.nanmean(correlations)) if correlations else float("nan"),
            "partial_average_precision": float(np.mean(precisions)) if precisions else float("nan"),
            "chance": float(np.mean(chances)) if chances else float("nan")}


def calibration(estimated, truth, bins=10):
    """Mean truth of pairs in equally filled bins of the estimate: DataFrame `estimated, truth, pairs`."""
    guess, right = np.asarray(estimated, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    parts = np.array_split(np.argsort(guess, kind="stable"), bins)
    return pd.DataFrame([{"estimated": guess[i].mean(), "truth": right[i].mean(), "pairs": len(i)} for i in parts])
