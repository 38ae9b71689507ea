"""Retrieval measures: a similarity matrix and a relevance matrix in, numbers out.

A two-clip example: similarity [[0.9, 0.1], [0.2, 0.8]] with relevance the identity puts the right clip first for
both captions, so every measure is 1. Rows are the items that are ranked, columns the queries; transpose both for the
other direction. Ties are broken by row order, as a stable sort would.
"""
import numpy as np
import pandas as pd
import torch

DEPTH = 16


def _ranking(similarity, relevance):
    """Relevance of the first DEPTH items of each query (Q, depth), and each query's rank of its best relevant item."""
    similarity = torch.as_tensor(similarity)
    relevance = torch.as_tensor(relevance, dtype=torch.float32)
    if similarity.shape != relevance.shape:
        raise ValueError(f"similarity is {tuple(similarity.shape)} but relevance {tuple(relevance.shape)}; both must be "
                         "(items ranked, queries)")
    order = torch.argsort(similarity.T.contiguous(), dim=1, descending=True, stable=True)
    ordered = relevance.T.contiguous().gather(1, order)
    whole = ordered >= 1
    first = torch.where(whole.any(1), whole.float().argmax(1) + 1, len(similarity) + 1)
    return ordered, first


def per_query(similarity, relevance, k=(1, 5, 10)):
    """One row a query: `rank` of its best relevant item, `ap@10`, `ap@16`, `r@k` and `ndcg@10`.

    similarity, relevance: (items ranked, queries); relevance in [0, 1]. Average precision and recall count an item as
    relevant at 1.0 and divide by the number of relevant items, as ranx and the DCASE evaluation do; nDCG takes
    relevance in full as gain. A query without any relevant item scores 0.
    """
    ordered, first = _ranking(similarity, relevance)
    whole = (ordered >= 1).double()
    count = whole.sum(1).clamp(min=1)
    hits = whole.cumsum(1)
    columns = {"rank": first.numpy()}
    places = torch.arange(1, whole.shape[1] + 1, dtype=torch.float64)
    for depth in (10, DEPTH):
        precision = (hits / places * whole)[:, :depth].sum(1)
        columns[f"ap@{depth}"] = (precision / count).numpy()
    for depth in k:
        columns[f"r@{depth}"] = (whole[:, :depth].sum(1) / count).numpy()
    columns["ndcg@10"] = _ndcg(ordered.double(), 10).numpy()
    return pd.DataFrame(columns)


def _ndcg(ordered, depth):
    """Linear gain over log2(1 + rank), divided by that of the best possible order (Jarvelin and Kekalainen 2002)."""
    discount = 1 / torch.log2(torch.arange(2, min(depth, ordered.shape[1]) + 2, dtype=torch.float64))
    gained = (ordered[:, :depth] * discount).sum(1)
    best = (ordered.topk(min(depth, ordered.shape[1]), dim=1).values * discount).sum(1)
    return torch.where(best > 0, gained / best.clamp(min=1e-12), torch.zeros_like(best))


def retrieval_metrics(similarity, relevance, k=(1, 5, 10)):
    """Means over queries: mAP@10, mAP@16, R@k, nDCG@10 and the median rank of the best relevant item.

    similarity, relevance: (clips, captions) for caption-to-clip retrieval. See `per_query`.
    """
    table = per_query(similarity, relevance, k)
    found = {"mAP@10": table["ap@10"].mean(), "mAP@16": table["ap@16"].mean()}
    found |= {f"R@{depth}": table[f"r@{depth}"].mean() for depth in k}
    return {name: float(v) for name, v in (found | {"nDCG@10": table["ndcg@10"].mean(),
                                                    "median_rank": table["rank"].median()}).items()}


def oracle_ceiling(truth, annotated):
    """Annotated mAP@10, R@1, R@5, R@10 that a ranking by truth reaches, ties broken at random.

    truth, annotated (clips, captions), one annotated clip a caption. If `a` clips are truer than the annotated one
    and `t` are as true (itself included), its rank is uniform on a+1 .. a+t.
    """
    truth, annotated = np.asarray(truth, np.float64), np.asarray(annotated, bool)
    if not (annotated.sum(0) == 1).all():
        raise ValueError("oracle_ceiling needs exactly one annotated clip a caption")
    own = truth[annotated.argmax(0), np.arange(truth.shape[1])]
    above, tied = (truth > own).sum(0), (truth == own).sum(0)
    ranks = np.arange(1, 11)
    reached = (ranks[:, None] > above) & (ranks[:, None] <= above + tied)
    chance = reached / tied
    found = {"mAP@10": float((chance / ranks[:, None]).sum(0).mean())}
    return found | {f"R@{k}": float(chance[:k].sum(0).mean()) for k in (1, 5, 10)}
