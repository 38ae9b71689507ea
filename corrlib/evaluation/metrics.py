"""Retrieval measures: a similarity matrix and a relevance matrix in, numbers out.

A two-clip example: similarity [[0.9, 0.1], [0.2, 0.8]] with relevance the identity puts the right clip first for
both captions, so every measure is 1. Rows are the items that are ranked, columns the queries: clips and captions for
caption-to-clip retrieval; transpose both matrices for the other direction.

Ties are broken by row order: of equally similar items the one with the lower row number comes first. Where every
item is relevant to equally many queries, as in caption-to-clip retrieval of annotated pairs, a model that finds all
pairs equally similar thus scores what chance does.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch

from corrlib.evaluation.checks import Numbers, as_array, booleans, graded, is_whole, real_numbers

DEPTHS = (10, 16)  # of average precision
QUERIES_AT_ONCE = 512
SPARE = 32  # items sorted beyond the depth, for ties


def ranks(similarity: Numbers, relevance: Numbers) -> torch.Tensor:
    """Rank of each query's best-ranked relevant item (queries,), 1 is best; items + 1 where none is relevant.

    similarity, relevance: (items ranked, queries); an item is relevant at 1.0. ValueError as in `per_query`.
    """
    scores, gains = _checked(similarity, relevance)
    return _ranks(scores.T, gains.T >= 1)


def _ranks(scores: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """As `ranks`, of scores and matches (queries, items)."""
    best = scores.masked_fill(~matches, -torch.inf).amax(1, keepdim=True)
    before, tied = (scores > best).sum(1), scores == best
    if bool((tied.sum(1) > 1).any()):  # of equal ones the first row comes first
        first = (matches & tied).int().argmax(1, keepdim=True)
        before = before + (tied & (torch.arange(scores.shape[1]) < first)).sum(1)
    return torch.where(best[:, 0] > -torch.inf, before + 1, scores.shape[1] + 1)


def _checked(similarity: Numbers, relevance: Numbers) -> tuple[torch.Tensor, torch.Tensor]:
    """Both (items ranked, queries) as floating-point tensors on the CPU; see `per_query` for what is refused."""
    scores = real_numbers(similarity, "similarity").detach().cpu()
    gains = graded(relevance, "relevance").detach().cpu()
    if scores.ndim != 2 or scores.shape != gains.shape or not scores.numel():
        raise ValueError(
            f"similarity is {tuple(scores.shape)} but relevance {tuple(gains.shape)}; both must "
            "be (items ranked, queries)"
        )
    return scores, gains


def per_query(similarity: Numbers, relevance: Numbers, k: Sequence[int] = (1, 5, 10)) -> pd.DataFrame:
    """One row a query: `rank` of its best relevant item, `ap@10`, `ap@16`, `r@k` for every k and `ndcg@10`.

    similarity, relevance: (items ranked, queries); relevance binary or graded in [0, 1]. An item counts as relevant
    at 1.0 for rank, average precision and recall; nDCG takes relevance in full as (linear) gain. As in ranx and the
    DCASE evaluation, AP@k and R@k divide by the number of relevant items, even if that is more than k; with one
    relevant item AP@k is 1 / rank and R@k a hit rate. A query without any relevant item scores 0. ValueError where the
    shapes differ, a similarity is not finite, a relevance is outside [0, 1] or a k is no whole number of 1 or more.
    """
    _refuse_depths(k)
    scores, gains = _checked(similarity, relevance)
    blocks = zip(scores.split(QUERIES_AT_ONCE, 1), gains.split(QUERIES_AT_ONCE, 1), strict=True)
    return pd.concat([_block(part, part_gains, k) for part, part_gains in blocks], ignore_index=True)


def _refuse_depths(k: Sequence[int]) -> None:
    wrong = [depth for depth in k if not is_whole(depth) or depth < 1] if isinstance(k, Iterable) else [k]
    if wrong:
        raise ValueError(f"k holds {wrong[0]!r}; it must be several whole numbers of 1 or more, such as (1, 5, 10)")


def _block(similarity: torch.Tensor, relevance: torch.Tensor, k: Sequence[int]) -> pd.DataFrame:
    """`per_query` of some queries."""
    depth = max(*DEPTHS, *k)
    scores, gains = similarity.T.contiguous(), relevance.T.contiguous()
    matches = gains >= 1
    ordered = gains.gather(1, first_ranked(scores, depth)).double()
    whole = (ordered >= 1).double()
    relevant = matches.sum(1).clamp(min=1)
    precision = whole.cumsum(1) / torch.arange(1, ordered.shape[1] + 1) * whole
    columns = {"rank": _ranks(scores, matches)}
    columns |= {f"ap@{depth}": precision[:, :depth].sum(1) / relevant for depth in DEPTHS}
    columns |= {f"r@{depth}": whole[:, :depth].sum(1) / relevant for depth in k}
    columns["ndcg@10"] = _ndcg(ordered[:, :10], gains)
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def first_ranked(scores: torch.Tensor, depth: int) -> torch.Tensor:
    """Row numbers (queries, depth) of the best items of scores (queries, items), ties in row order.

    Only a few more than `depth` are sorted; a query whose ties reach beyond them is sorted in full.
    """
    wide = depth + SPARE
    if scores.shape[1] <= wide:
        return scores.argsort(dim=1, descending=True, stable=True)[:, :depth]
    values, rows = scores.topk(wide, 1)
    rows, by_row = rows.sort(1)
    values, order = values.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    first = rows.gather(1, order)[:, :depth]
    unsure = values[:, depth - 1] == values[:, -1]
    if bool(unsure.any()):
        first[unsure] = scores[unsure].argsort(dim=1, descending=True, stable=True)[:, :depth]
    return first


def _ndcg(ordered: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """DCG with linear gain over log2(1 + rank), over that of the best order (Jarvelin and Kekalainen 2002): (queries,).

    ordered (queries, depth): gains of the first ranked; gains (queries, items).
    """
    depth = ordered.shape[1]
    discount = 1 / torch.log2(torch.arange(2, depth + 2, dtype=torch.float64))
    best = gains.topk(depth, dim=1).values.double() @ discount
    return torch.where(best > 0, ordered @ discount / best.where(best > 0, torch.ones_like(best)), 0.0)


def summarise(queries: pd.DataFrame) -> dict[str, float]:
    """Means over the rows of a `per_query` table: dict of mAP@10, mAP@16, R@k, nDCG@10 and median_rank."""
    names = {"ap": "mAP", "r": "R", "ndcg": "nDCG"}
    means = {}
    for column in queries.columns.drop("rank"):
        measure, depth = column.split("@")
        means[f"{names[measure]}@{depth}"] = float(queries[column].mean())
    return means | {"median_rank": float(queries["rank"].median())}


def retrieval_metrics(similarity: Numbers, relevance: Numbers, k: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Means over queries: dict of mAP@10, mAP@16, R@k, nDCG@10 in [0, 1] and the median rank of the best relevant.

    similarity, relevance: (clips, captions) for caption-to-clip retrieval, both transposed for clip-to-caption;
    relevance binary or graded in [0, 1]. The definitions, and what is refused, are those of `per_query`.

    >>> metrics = retrieval_metrics([[0.9, 0.1], [0.2, 0.8]], [[1, 0], [0, 1]])
    >>> metrics["mAP@10"], metrics["R@1"]
    (1.0, 1.0)
    """
    return summarise(per_query(similarity, relevance, k))


def oracle_ceiling(
    truth: np.ndarray | torch.Tensor, annotated: np.ndarray | torch.Tensor, k: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Annotated mAP@10, mAP@16 and R@k that a ranking by truth reaches on average, ties broken at random.

    truth, annotated: (clips, captions), exactly one annotated clip a caption. If `above` clips are truer than the
    annotated one and `tied` are as true (itself included), its rank is uniform on above + 1 .. above + tied, so
    AP@k is the sum over r = above + 1 .. min(above + tied, k) of 1 / (r tied), and R@k the share of those ranks
    that are at most k. No model that knows no more than the truth can be expected to score higher.
    ValueError where the shapes differ, a truth is not in [0, 1] or a caption has not exactly one annotated clip.
    """
    _refuse_depths(k)
    truth, annotated = as_array(graded(truth, "truth")), as_array(booleans(annotated, "annotated"))
    if truth.ndim != 2 or not truth.size or truth.shape != annotated.shape or not (annotated.sum(0) == 1).all():
        raise ValueError(
            "oracle_ceiling needs truth and annotated of one shape, with exactly one annotated clip a caption"
        )
    of_annotated = truth[annotated.argmax(0), np.arange(truth.shape[1])]
    above, tied = (truth > of_annotated).sum(0), (truth == of_annotated).sum(0)
    rank = np.arange(1, max(*DEPTHS, *k) + 1)[:, None]
    chance = ((rank > above) & (rank <= above + tied)) / tied  # P(rank) (ranks, captions)
    ceilings = {f"mAP@{depth}": float((chance / rank)[:depth].sum(0).mean()) for depth in DEPTHS}
    return ceilings | {f"R@{depth}": float(chance[:depth].sum(0).mean()) for depth in k}
