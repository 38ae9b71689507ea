"""The contract of an audio backbone: waveform -> log-mel -> features, and strict loading of published weights."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.checkpoint import checkpoint

from corrlib.models.gradient_cache import frozen_statistics
from corrlib.models.published import read_checkpoint


class Backbone(nn.Module):
    """Base of the three networks. A subclass sets `front_end`, `feature_size` and writes `encode`."""

    front_end: Any  # one of corrlib.models.frontends
    feature_size: int
    segment_seconds = 10
    published_file = ""
    published_at = ""
    checkpoint_activations = False  # keep only what enters each block, and compute the rest again backwards

    @property
    def sample_rate_hz(self):
        """Rate of the waveforms that it takes: 32 kHz as published, 16 kHz of the tiny presets."""
        return self.front_end.rate_hz

    def log_mel(self, waveform):
        """waveform (B, samples) mono at `sample_rate_hz` -> (B, mels, frames), float32 also under autocast."""
        return self.front_end(waveform)

    def encode(self, log_mel):
        """log-mel (B, mels, frames) -> features (B, D); augments the log-mel in training."""
        raise NotImplementedError

    def through(self, blocks, x):
        """x after the blocks, one after the other."""
        for block in blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(
                    block,
                    x,
                    use_reentrant=False,
                    context_fn=lambda block=block: (nullcontext(), frozen_statistics(block)),
                )
            else:
                x = block(x)
        return x

    def forward(self, waveform):
        """waveform (B, samples of at most a segment) -> features (B, D)."""
        limit = self.segment_seconds * self.sample_rate_hz
        if waveform.shape[1] > limit:
            raise ValueError(
                f"a waveform of {waveform.shape[1]} samples is longer than a segment ({limit}); "
                "cut it, as DualEncoder.embed_audio does"
            )
        return self.encode(self.log_mel(waveform))

    def published_names(self, state):
        """Rename a published state dict's keys to ours; parts that features do not need are left out here."""
        return state

    def load_published(self, source):
        """Load a published checkpoint (path or state dict) strictly; ValueError names the first keys that differ.

        Plain layouts, one nested under `model`, and Lightning's `state_dict` are understood. Files are read by
        safetensors or `corrlib.models.published`: what a pickle names beside tensors is left out, and never run.
        """
        state: dict = source if isinstance(source, dict) else self._read(Path(source))
        for wrapper in ("state_dict", "model"):
            state = state[wrapper] if isinstance(state.get(wrapper), dict) else state
        state, own = self.published_names(state), self.state_dict()
        wrong = [f"{key} (missing)" for key in own if key not in state]
        wrong += [f"{key} (unknown)" for key in state if key not in own]
        wrong += [
            f"{key} {shape} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and (shape := tuple(getattr(state[key], "shape", ()))) != tuple(own[key].shape)
        ]
        if wrong:
            label = "the state dict" if isinstance(source, dict) else source
            raise ValueError(
                f"{label} does not fit {type(self).__name__}: {len(wrong)} keys differ, first "
                f"{'; '.join(wrong[:3])}; choose the backbone that this file belongs to"
            )
        self.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()})

    def _read(self, path):
        if not path.is_file():
            where = f"; it is published as {self.published_file} ({self.published_at})" if self.published_file else ""
            raise FileNotFoundError(
                f"weights file {path} does not exist{where}: put it there, for example under weights/"
            )
        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            return read_checkpoint(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a checkpoint that can be read safely ({str(error).splitlines()[0][:100]}); "
                "use the published file"
            ) from None
