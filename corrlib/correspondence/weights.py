"""Weights of an ensemble's members, chosen on a validation split."""

from collections.abc import Sequence

import numpy as np
import torch

from corrlib.evaluation.checks import refuse_below_one, refuse_rows
from corrlib.evaluation.embeddings import Embeddings
from corrlib.evaluation.metrics import per_query

ROUNDS = 20


def choose_weights(members: Sequence[Embeddings], clip_of_caption: torch.Tensor, rounds: int = ROUNDS) -> np.ndarray:
    """Weights (M,) of the members, chosen on a validation split by its annotated mAP@10.

    Greedy selection with replacement (Caruana et al., 2004): the member that helps most is added, again and again, and
    the best number of rounds is kept; a member's weight is the share of rounds that chose it.
    members: list of (clip_embeddings (N, E_m), caption_embeddings (C, E_m)); clip_of_caption (C,): each one's clip row.
    ValueError where there is no member or no round, or a row is none of the clips'.
    """
    refuse_below_one(len(members), "the number of members")
    refuse_below_one(rounds, "rounds")
    refuse_rows(clip_of_caption, len(members[0][0]), "clip_of_caption")
    similarities = [clip_embeddings @ caption_embeddings.T for clip_embeddings, caption_embeddings in members]
    relevance = (torch.arange(len(similarities[0]))[:, None] == clip_of_caption[None, :]).float()
    total, counts = torch.zeros_like(similarities[0]), np.zeros(len(members))
    best, weights = -1.0, counts
    for _ in range(rounds):
        scores = [float(per_query(total + similarity, relevance)["ap@10"].mean()) for similarity in similarities]
        chosen = int(np.argmax(scores))
        total, counts[chosen] = total + similarities[chosen], counts[chosen] + 1
        if scores[chosen] > best + 1e-9:
            best, weights = scores[chosen], counts / counts.sum()
    return weights
