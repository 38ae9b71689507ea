"""Contrastive and distillation losses on a similarity matrix: tensors in, scalar out.

Rows are clips, columns captions; the matrix may be rectangular (several captions a clip). Both stages are the
same cross-entropy between softmax(similarity / temperature) and a target distribution, in both directions; only
the targets differ. Computed in float32 (float64 stays float64) whatever the inputs' precision.
"""
import torch


def _full(x):
    return x if x.dtype == torch.float64 else x.float()


def symmetric_cross_entropy(similarity, clip_given_caption, caption_given_clip, temperature):
    """Mean over captions of H(target, p(clip | caption)) and over clips of H(target, p(caption | clip)), halved.

    similarity (clips, captions); the targets have its shape and sum to 1 over clips and captions respectively.
    """
    logits = _full(similarity) / temperature
    to_clips = -(clip_given_caption * logits.log_softmax(0)).sum(0)
    to_captions = -(caption_given_clip * logits.log_softmax(1)).sum(1)
    return (to_clips.mean() + to_captions.mean()) / 2


def contrastive_loss(similarity, annotated, temperature):
    """Symmetric cross-entropy against annotated pairs (NT-Xent; paper, section 2.1).

    similarity (clips, captions) in [-1, 1]; annotated (clips, captions) bool, with at least one match in every
    row and column: all matches of a row (column) share its target equally. With one match each, this is NT-Xent.
    """
    matches = annotated.to(_full(similarity).dtype)
    per_caption, per_clip = matches.sum(0, keepdim=True), matches.sum(1, keepdim=True)
    if bool((per_caption == 0).any()) or bool((per_clip == 0).any()):
        raise ValueError("annotated has a clip or caption without a match in this batch; every one needs at least one")
    return symmetric_cross_entropy(similarity, matches / per_caption, matches / per_clip, temperature)


def distillation_loss(similarity, teacher_similarity, temperature, teacher_temperature=None):
    """Symmetric cross-entropy against the softmax of the teachers' similarity over the batch (paper, section 2.2).

    teacher_similarity (clips, captions) is the teachers' mean similarity; teacher_temperature is `temperature`
    unless given, as in the paper.
    """
    soft = _full(teacher_similarity.detach()) / (teacher_temperature or temperature)
    return symmetric_cross_entropy(similarity, soft.softmax(0), soft.softmax(1), temperature)


def stage_loss(similarity, annotated, temperature, teacher_similarity=None, w_sup=1.0, w_dist=0.0,
               teacher_temperature=None):
    """w_sup * L_sup + w_dist * L_dist: stage 1 is (1, 0), the published stage 2 (0, 1), a later system (1, 1)."""
    if w_dist and teacher_similarity is None:
        raise ValueError("w_dist is not 0 but there is no teacher; give teacher_similarity or set w_dist to 0")
    loss = similarity.new_zeros((), dtype=_full(similarity).dtype)
    if w_sup:
        loss = loss + w_sup * contrastive_loss(similarity, annotated, temperature)
    if w_dist:
        loss = loss + w_dist * distillation_loss(similarity, teacher_similarity, temperature, teacher_temperature)
    return loss
