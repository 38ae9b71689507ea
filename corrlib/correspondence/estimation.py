"""From an ensemble of stage-1 models to estimated correspondences of clips and captions (section 2.2 of the paper).

Embeddings are unit length, one (clips, E_m) and one (captions, E_m) a member; members may differ in E_m. Nothing here
ranks or averages what is no finite number: ValueError says which argument holds it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from corrlib.evaluation.checks import (
    Numbers,
    floating,
    real_numbers,
    refuse_below_one,
    refuse_count,
    refuse_not_finite,
    refuse_rows,
    refuse_temperature,
    refuse_too_cold,
)
from corrlib.evaluation.embeddings import StoredEmbeddings
from corrlib.models.precision import full_precision

COMBINE = ("mean_similarity", "mean_probability", "geometric_mean", "rank_mean", "best")
Members = Sequence[torch.Tensor] | Sequence[StoredEmbeddings]  # one (rows, E_m) a member
RowNumbers = torch.Tensor | Sequence[int] | slice
Weights = torch.Tensor | np.ndarray | Sequence[float]  # one a member


def estimate(
    teacher_similarities: Numbers, temperature: float, combine: str = "mean_similarity", weights: Weights | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimated correspondences of every clip and caption (section 2.2: the softmax of the teachers' mean similarity).

    teacher_similarities (M, clips, captions) in [-1, 1]; weights (M,) of the members, equal if not given.
    combine: `mean_similarity` (the paper: average, then softmax), `mean_probability` (softmax, then average),
    `geometric_mean` (of the members' probabilities, renormalised; equal to mean_similarity, because a softmax's
    normaliser is constant along its axis), `rank_mean` (mean of 1 / rank, normalised; knows no temperature) and
    `best` (the one member of greatest weight: give its validation score as weight).
    Returns (clip_given_caption, caption_given_clip), each (clips, captions), summing to 1 over clips / captions:
    float32, or float64 where the similarities are. ValueError where a similarity is not finite or of a wrong shape, the
    temperature not above 0 or so near it that a similarity over it is infinite, `combine` unknown, or the weights are
    not one real number a member.
    """
    if combine not in COMBINE:
        raise ValueError(f"unknown way to combine members '{combine}'; known: {', '.join(COMBINE)}")
    refuse_temperature(temperature)
    members = full_precision(real_numbers(teacher_similarities, "teacher_similarities"))
    if members.ndim != 3 or not members.numel():
        raise ValueError(
            f"teacher_similarities is {tuple(members.shape)}; it must be (members, clips, captions), none of them 0"
        )
    refuse_too_cold(float(members.abs().max()), temperature, members.dtype)
    if combine == "best":
        if weights is None:
            raise ValueError("combine 'best' needs weights, such as each member's validation mAP@10")
        members, combine, weights = members[_shares(weights, members).argmax()][None], "mean_similarity", None
    shares = _shares(weights, members)[:, None, None]
    clip_given_caption = _combined(members, temperature, combine, shares, axis=1)
    return clip_given_caption, _combined(members, temperature, combine, shares, axis=2)


def _shares(weights: Weights | None, members: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Weights (M,) that sum to 1, in the members' precision and on their device."""
    if weights is None:
        return members[0].new_full((len(members),), 1 / len(members))
    given = floating(weights, "weights").double().cpu()
    valid = given.shape == (len(members),) and bool((given >= 0).all() and given.isfinite().all())
    if not valid or not given.max() > 0:
        raise ValueError(
            f"weights must be {len(members)} numbers, finite, none negative and not all 0; got {given.tolist()}"
        )
    shares = given / given.max()  # whose sum is finite, however large the weights
    return (shares / shares.sum()).to(members[0])


def _combined(members: torch.Tensor, temperature: float, combine: str, shares: torch.Tensor, axis: int) -> torch.Tensor:
    """(clips, captions) that sum to 1 over clips (axis 1 of the members) or captions (axis 2)."""
    if combine == "mean_similarity":
        return ((shares * members).sum(0) / temperature).softmax(axis - 1)
    if combine == "mean_probability":
        return (shares * (members / temperature).softmax(axis)).sum(0)
    if combine == "geometric_mean":
        return (shares * (members / temperature).log_softmax(axis)).sum(0).softmax(axis - 1)
    ranks = members.argsort(dim=axis, descending=True, stable=True).argsort(dim=axis) + 1
    scores = (shares / ranks).sum(0)
    return scores / scores.sum(axis - 1, keepdim=True)


def member_similarities(
    clip_embeddings: Sequence[torch.Tensor],
    caption_embeddings: Sequence[torch.Tensor],
    clip_rows: RowNumbers,
    caption_rows: RowNumbers,
) -> torch.Tensor:
    """Similarity (M, B, C) of a block under each member; the arguments are those of `ensemble_similarity`."""
    _check_members(clip_embeddings, caption_embeddings)
    refuse_rows(clip_rows, len(clip_embeddings[0]), "clip_rows")
    refuse_rows(caption_rows, len(caption_embeddings[0]), "caption_rows")
    parts = []
    for of_clips, of_captions in zip(clip_embeddings, caption_embeddings, strict=True):
        of_clips = full_precision(floating(of_clips[clip_rows], "clip_embeddings"))
        of_captions = full_precision(floating(of_captions[caption_rows], "caption_embeddings"))
        dtype = torch.promote_types(of_clips.dtype, of_captions.dtype)
        parts.append(of_clips.to(dtype) @ of_captions.to(dtype).T)
    similarities = torch.stack(parts)
    refuse_not_finite(similarities, "the members' embeddings")
    return similarities


def ensemble_similarity(
    clip_embeddings: Sequence[torch.Tensor],
    caption_embeddings: Sequence[torch.Tensor],
    clip_rows: RowNumbers,
    caption_rows: RowNumbers,
    weights: Weights | None = None,
) -> torch.Tensor:
    """Mean similarity (B, C) of a block, from stored embeddings alone (section 2.2).

    clip_embeddings, caption_embeddings: lists with one (N, E_m) and one (captions, E_m) a member;
    clip_rows (B,), caption_rows (C,): row numbers in them; weights (M,), equal if not given. ValueError where members
    are missing, of different corpora or sizes, or hold what is not finite, and where there is no such row.
    """
    similarities = member_similarities(clip_embeddings, caption_embeddings, clip_rows, caption_rows)
    return (_shares(weights, similarities)[:, None, None] * similarities).sum(0)


def _check_members(clip_embeddings: Members, caption_embeddings: Members) -> None:
    for kind, embeddings in (("clip", clip_embeddings), ("caption", caption_embeddings)):
        if not isinstance(embeddings, Iterable) or not all(hasattr(member, "shape") for member in embeddings):
            raise ValueError(f"{kind}_embeddings must be a list with a tensor ({kind}s, size) of each member")
    if not len(clip_embeddings) or len(clip_embeddings) != len(caption_embeddings):
        raise ValueError(
            f"{len(clip_embeddings)} members' clip embeddings but {len(caption_embeddings)} of captions; "
            "give one of each for at least one member"
        )
    for kind, embeddings in (("clip", clip_embeddings), ("caption", caption_embeddings)):
        shapes = [tuple(member.shape) for member in embeddings]
        if any(len(shape) != 2 for shape in shapes):
            raise ValueError(f"the members' {kind} embeddings are {shapes}; each must be ({kind}s, size)")
        rows = [shape[0] for shape in shapes]
        if len(set(rows)) > 1:
            raise ValueError(f"the members' {kind} embeddings have {rows} rows; all must be of the same corpus")
    for member, (of_clips, of_captions) in enumerate(zip(clip_embeddings, caption_embeddings, strict=True)):
        if of_clips.shape[1] != of_captions.shape[1]:
            raise ValueError(
                f"member {member} has clip embeddings of size {of_clips.shape[1]} but caption embeddings of "
                f"size {of_captions.shape[1]}; both must be of one model"
            )


def top_correspondences(
    clip_embeddings: Members,
    caption_embeddings: Members,
    temperature: float,
    k: int,
    block: int = 1024,
    weights: Weights | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For every caption the k most probable clips under mean-similarity estimation, block by block (section 2.2).

    clip_embeddings, caption_embeddings: lists with one (clips, E_m) and one (captions, E_m) a member, in memory, all on
    one device, or stored (`corrlib.evaluation.embeddings.StoredEmbeddings`).
    Returns (probability (captions, k), clip row (captions, k)), most probable first. The probabilities are normalised
    over all clips, although no more than block x (block + k) similarities exist at a time: a running log-sum-exp keeps
    the normaliser and each block's best are merged with the best so far, so the result is exact. ValueError as in
    `estimate` and `ensemble_similarity`, and where k is not from 1 to the number of clips.
    """
    _check_members(clip_embeddings, caption_embeddings)
    refuse_temperature(temperature)
    refuse_count(k, len(clip_embeddings[0]), "clips")
    refuse_below_one(block, "block")
    firsts = [full_precision(floating(member[:1], "clip_embeddings")) for member in clip_embeddings]
    refuse_too_cold(1.0, temperature, firsts[0].dtype)
    scales = _shares(weights, firsts) / temperature
    probabilities, clip_rows = [], []
    for start in range(0, max(1, len(caption_embeddings[0])), block):
        scaled = [
            scale * full_precision(floating(member[start : start + block], "caption_embeddings"))
            for scale, member in zip(scales, caption_embeddings, strict=True)
        ]
        # the mean of inner products is the inner product of the members side by side
        probability, rows = _top_of_block(clip_embeddings, torch.cat(scaled, 1), k, block)
        probabilities.append(probability)
        clip_rows.append(rows)
    return torch.cat(probabilities), torch.cat(clip_rows)


def _top_of_block(
    clip_embeddings: Members, scaled_captions: torch.Tensor, k: int, block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(probability (C, k), clip row (C, k)) of scaled_captions (C, sum of E_m), whose inner products
    with clips are logits.
    """
    captions, device = len(scaled_captions), scaled_captions.device
    best, best_rows = scaled_captions.new_empty(captions, 0), torch.empty(captions, 0, dtype=torch.long, device=device)
    logsum = scaled_captions.new_full((captions,), -torch.inf)
    for start in range(0, len(clip_embeddings[0]), block):
        parts = [
            full_precision(floating(member[start : start + block], "clip_embeddings")) for member in clip_embeddings
        ]
        logits = scaled_captions @ torch.cat(parts, 1).to(scaled_captions.dtype).T
        refuse_not_finite(logits, "clip_embeddings or caption_embeddings")
        logsum = torch.logaddexp(logsum, logits.logsumexp(1))
        rows = torch.arange(start, start + logits.shape[1], device=device).expand(len(logits), -1)
        if best.shape[1] < k:
            best, best_rows = _merge(best, best_rows, logits, rows, k)
            continue
        better = (logits.amax(1) > best[:, -1]).nonzero()[:, 0]  # fewer and fewer, the more was seen
        best[better], best_rows[better] = _merge(best[better], best_rows[better], logits[better], rows[better], k)
    return (best - logsum[:, None]).exp(), best_rows


def _merge(
    best: torch.Tensor, best_rows: torch.Tensor, logits: torch.Tensor, rows: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k greatest of two sets a row, and the clips that they are of."""
    everything = torch.cat([best, logits], 1)
    best, order = everything.topk(min(k, everything.shape[1]), dim=1)
    return best, torch.cat([best_rows, rows], 1).gather(1, order)
