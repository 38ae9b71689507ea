"""What training does to pairs that truly match and are not annotated: the contrastive loss's false negatives."""

from collections.abc import Callable

import numpy as np
import torch

from corrlib.corpora.batches import AudioSource, Items
from corrlib.corpora.seeds import derive_seed
from corrlib.evaluation.evaluate import captions_of, embed
from corrlib.models.dual_encoder import DualEncoder

Truth = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (clip_rows, caption_rows) -> (clips, captions)
KINDS = ("annotated", "unannotated match", "mismatch")


class WatchedPairs:
    """All pairs of some clips of the training split and of their captions, followed over the course of training.

    items: of the training split; truth: of rows of it; clips: how many are watched, drawn by `seed`. ValueError where
    the split has fewer.
    """

    def __init__(self, audio: AudioSource, items: Items, truth: Truth, clips: int, seed: int) -> None:
        if clips > items.clips:
            raise ValueError(f"watched_clips is {clips}, but the training split has {items.clips}; choose fewer")
        generator = torch.Generator().manual_seed(derive_seed(seed, "watched clips"))
        self.audio, self.items = audio, items
        self.clip_rows = torch.randperm(items.clips, generator=generator)[:clips].sort().values
        caption_rows = captions_of(items, self.clip_rows)
        correspondence = torch.as_tensor(truth(self.clip_rows.numpy(), caption_rows.numpy()))
        annotated = items.annotated(self.clip_rows, caption_rows)
        self.kinds = {
            "annotated": annotated,
            "unannotated match": (correspondence >= 1) & ~annotated,
            "mismatch": (correspondence <= 0) & ~annotated,
        }

    def measure(self, encoder: DualEncoder, precision: str = "float32", workers: int = 0) -> dict[str, float]:
        """Of the encoder as it stands, by kind of pair (KINDS): `<kind> similarity`, the mean cosine, and `<kind>
        rank`, the mean place of the clip among all watched clips, as its caption ranks them: 0 first, 1 last.

        NaN where there is no pair of a kind.
        """
        clip_embeddings, caption_embeddings = embed(
            encoder, self.audio, self.items, precision=precision, workers=workers, clip_rows=self.clip_rows
        )
        return measure(clip_embeddings @ caption_embeddings.T, self.kinds)


def measure(similarity: torch.Tensor, kinds: dict[str, torch.Tensor]) -> dict[str, float]:
    """As `WatchedPairs.measure`, of similarity (clips, captions). kinds: {name: (clips, captions) bool}."""
    places = similarity.argsort(dim=0, descending=True, stable=True).argsort(dim=0).float() / max(
        1, len(similarity) - 1
    )
    values = {}
    for kind, pairs in kinds.items():
        values[f"{kind} similarity"] = float(similarity[pairs].mean())
        values[f"{kind} rank"] = float(places[pairs].mean())
    return values
