"""Contrastive and distillation losses on a similarity matrix: tensors in, scalar out.

Rows are clips, columns captions; the matrix may be rectangular (several captions a clip) and may name a clip in
several rows. Both stages are the same cross-entropy between softmax(similarity / temperature) and a target
distribution, in both directions; only the targets differ. Half-precision inputs are computed in float32, and
float64 stays float64. A similarity that is not finite makes the loss nan, at which a trainer stops.
"""

import torch
from torch import Tensor

from corrlib.evaluation.checks import booleans, refuse_temperature
from corrlib.models.precision import full_precision

UNEVEN = 1e-2  # by which a sum of probabilities may miss 1, in half precision


def _check(similarity: Tensor, other: Tensor, name: str, temperature: float) -> None:
    if similarity.ndim != 2 or similarity.shape != other.shape:
        raise ValueError(
            f"similarity is {tuple(similarity.shape)} but {name} is {tuple(other.shape)}; "
            "both must be (clips, captions) of the same batch"
        )
    for tensor, called in ((similarity, "similarity"), (other, name)):
        if tensor.is_complex() or (tensor.dtype == torch.bool and name != "annotated"):
            raise ValueError(f"{called} holds {tensor.dtype}, which is no kind of real number")
    if not similarity.numel():
        raise ValueError(f"similarity is {tuple(similarity.shape)}; a loss needs at least one clip and one caption")
    refuse_temperature(temperature)


def _refuse_uneven(target: Tensor, axis: int, name: str, things: str) -> None:
    """ValueError where a target is no distribution, such as the other direction's in its place."""
    if not bool(((target.detach().sum(axis) - 1).abs() < UNEVEN).all()):
        raise ValueError(f"{name} does not sum to 1 over {things}; give the two targets as `estimate` returns them")


def symmetric_cross_entropy(
    similarity: Tensor, clip_given_caption: Tensor, caption_given_clip: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy of target and predicted distributions, in both directions; a scalar.

        1/2 mean over captions j of  - sum_i clip_given_caption[i, j] log softmax_i(similarity[i, j] / temperature)
      + 1/2 mean over clips i of     - sum_j caption_given_clip[i, j] log softmax_j(similarity[i, j] / temperature)

    similarity (clips, captions); the targets have its shape and sum to 1 over clips and captions respectively,
    as `corrlib.correspondence.estimate` returns them. ValueError where the shapes differ or a target does not sum to 1.
    """
    _check(similarity, clip_given_caption, "clip_given_caption", temperature)
    _check(similarity, caption_given_clip, "caption_given_clip", temperature)
    clip_given_caption, caption_given_clip = full_precision(clip_given_caption), full_precision(caption_given_clip)
    _refuse_uneven(clip_given_caption, 0, "clip_given_caption", "clips")
    _refuse_uneven(caption_given_clip, 1, "caption_given_clip", "captions")
    logits = full_precision(similarity) / temperature
    to_clips = -(clip_given_caption * logits.log_softmax(0)).sum(0)
    to_captions = -(caption_given_clip * logits.log_softmax(1)).sum(1)
    return (to_clips.mean() + to_captions.mean()) / 2


def contrastive_loss(similarity: Tensor, annotated: Tensor, temperature: float) -> Tensor:
    """Symmetric cross-entropy against the annotated pairs (stage 1; paper, section 2.1); a scalar.

    similarity (clips, captions) in [-1, 1]; annotated (clips, captions) bool, beside it or on the CPU. The matches of a
    caption share its target equally, and so do those of a clip: with P(j) the matching clips of caption j, the
    caption-to-clip half is mean_j 1/|P(j)| sum_{i in P(j)} -log softmax_i(similarity[i, j] / temperature). With one
    match in every row and column this is NT-Xent (the symmetric InfoNCE of CLIP); with several it is the outer-sum form
    of the supervised contrastive loss (Khosla et al. 2020, eq. 2), not the logarithm of the matches' summed
    probability.
    Raises ValueError where a clip or a caption has no match.
    """
    _check(similarity, annotated, "annotated", temperature)
    annotated = booleans(annotated, "annotated")
    covered = annotated.any(0).all() & annotated.any(1).all()  # where it is: on the CPU, no GPU is waited for
    if not bool(covered):
        raise ValueError("annotated has a clip or caption without a match in this batch; every one needs a match")
    matches = annotated.to(similarity.device, full_precision(similarity).dtype, non_blocking=True)
    per_caption, per_clip = matches.sum(0, keepdim=True), matches.sum(1, keepdim=True)
    return symmetric_cross_entropy(similarity, matches / per_caption, matches / per_clip, temperature)


def distillation_loss(
    similarity: Tensor, teacher_similarity: Tensor, temperature: float, teacher_temperature: float | None = None
) -> Tensor:
    """Symmetric cross-entropy against the softmax of the teachers' similarity (stage 2; paper, section 2.2); a scalar.

    teacher_similarity (clips, captions) is the teachers' mean similarity; no gradient flows into it.
    teacher_temperature is `temperature` unless given, as in the paper. The loss is least, at the targets' entropy,
    where the student's distributions are the teachers'. A teacher without opinion (constant similarity) makes uniform
    targets; a certain one (teacher_temperature towards 0) makes this the contrastive loss of its best pairs.

    A run computes the same from embeddings: `corrlib.correspondence.targets.estimated` gives the two distributions,
    and `stage_loss` their cross-entropy.
    """
    teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
    _check(similarity, teacher_similarity, "teacher_similarity", teacher_temperature)
    teacher_logits = full_precision(teacher_similarity.detach()) / teacher_temperature
    return symmetric_cross_entropy(similarity, teacher_logits.softmax(0), teacher_logits.softmax(1), temperature)


def stage_loss(
    similarity: Tensor,
    annotated: Tensor,
    temperature: float,
    estimated: tuple[Tensor, Tensor] | None = None,
    w_sup: float = 1.0,
    w_dist: float = 0.0,
) -> Tensor:
    """w_sup * L_sup + w_dist * L_dist: stage 1 is (1, 0), published stage 2 (0, 1), a later system (1, 1); a scalar.

    L_sup is the contrastive loss of the `annotated` pairs (clips, captions); L_dist the cross-entropy against
    `estimated`, the two distributions of `corrlib.correspondence.estimate`, which hold their temperature already. A
    term of weight 0 is not computed. ValueError where L_dist counts and nothing is estimated.
    """
    loss = similarity.new_zeros((), dtype=full_precision(similarity).dtype)
    if w_sup:
        loss = loss + w_sup * contrastive_loss(similarity, annotated, temperature)
    if w_dist:
        if estimated is None:
            raise ValueError("w_dist is not 0, but the target has no estimate; give `estimated`, or set w_dist to 0")
        clip_given_caption, caption_given_clip = estimated
        loss = loss + w_dist * symmetric_cross_entropy(similarity, clip_given_caption, caption_given_clip, temperature)
    return loss
