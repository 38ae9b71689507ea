"""Pretraining of a tiny backbone on tagging: the built-in stand-in for AudioSet pretraining."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from corrlib.corpora.batches import AudioSource, LogMels, Waveforms
from corrlib.files import digest, read_tensors
from corrlib.models.backbone import Backbone
from corrlib.models.precision import full_precision
from corrlib.study.code import closure_fingerprint
from corrlib.training.trainer import learning_rate_at


def pretrain(
    backbone: Backbone,
    audio: AudioSource,
    tags: np.ndarray,
    epochs: int,
    learning_rate: float,
    seed: int,
    batch_clips: int = 16,
) -> list[float]:
    """Train `backbone` (in place) and a linear head to tag clips; returns the mean loss of each epoch.

    audio: of the pretraining split, clips of at most a segment; tags (clips, classes) in {0, 1}. Binary cross-entropy,
    AdamW, one epoch of warm-up and a cosine, as AudioSet taggers are trained. The head is thrown away.
    """
    torch.manual_seed(seed)
    device = next(backbone.parameters()).device
    targets = torch.as_tensor(tags).to(device)
    head = nn.Linear(backbone.feature_size, targets.shape[1]).to(device)
    optimiser = torch.optim.AdamW(
        [*backbone.parameters(), *head.parameters()], lr=learning_rate, weight_decay=1e-4, fused=True
    )
    batch_clips = min(batch_clips, len(targets))
    steps, step, losses = len(targets) // batch_clips, 0, []
    backbone.train()
    for epoch in range(epochs):
        total = 0.0
        for clip_rows in torch.randperm(len(targets))[: steps * batch_clips].split(batch_clips):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, epochs * steps, steps, learning_rate, 1e-6)
            logits = head(_features(backbone, audio, clip_rows))
            loss = F.binary_cross_entropy_with_logits(logits, targets[clip_rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total, step = total + float(loss.detach()), step + 1
        losses.append(total / steps)
        print(f"pretraining epoch {epoch + 1}/{epochs}  loss {losses[-1]:.4f}", flush=True)
    return losses


def _features(backbone: Backbone, audio: AudioSource, clip_rows: torch.Tensor) -> torch.Tensor:
    """Features (B, D) of some clips, (B,) row numbers, from cached log-mels or from their waveforms."""
    device = next(backbone.parameters()).device
    batch = audio.collate([audio.read(place) for place in audio.places(clip_rows)])
    if isinstance(batch, LogMels):
        return backbone.encode(full_precision(batch.log_mel.to(device)))
    assert isinstance(batch, Waveforms)
    return backbone(batch.waveform.to(device))


def pretrained_path(backbone: Backbone, recipe: dict[str, Any], data: str, tags: np.ndarray) -> Path:
    """Where a pretrained backbone is kept: in `pretrained/` of the data folder, under a name that tells what made it.

    recipe: what decides the training; data: fingerprint of its clips; tags (clips, classes). The code counts, too.
    """
    shapes = {name: list(value.shape) for name, value in backbone.state_dict().items()}
    code = closure_fingerprint((type(backbone).__module__, __name__, "corrlib.training.stages"))
    key = [recipe, backbone.front_end.settings(), shapes, code, data, digest(np.ascontiguousarray(tags).tobytes())]
    folder = Path(os.environ.get("CORRLIB_DATA", "data")) / "pretrained"
    return folder / f"{recipe['backbone']}-{digest(key)[:16]}.safetensors"


def save_pretrained(path: Path, backbone: Backbone, losses: list[float]) -> None:
    """Write the weights of `backbone`, and the losses of the epochs that made them."""
    state = {name: value.contiguous() for name, value in backbone.state_dict().items()}
    state["losses"] = torch.tensor(losses, dtype=torch.float64)
    save_file(state, path)


def load_pretrained(path: Path, backbone: Backbone) -> list[float]:
    """Load what `save_pretrained` wrote into `backbone`, strictly; the losses of its epochs."""
    state = read_tensors(path)
    losses = state.pop("losses").tolist()
    backbone.load_state_dict(state)
    return losses
