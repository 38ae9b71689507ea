"""The contract of an audio backbone: waveform -> log-mel -> features, and strict loading of published weights."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from corrlib.models.frontends import FrontEnd
from corrlib.models.gradient_cache import frozen_statistics
from corrlib.models.precision import full_precision
from corrlib.models.published import read_checkpoint

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # kinds in which weights are published

LEAST_SECONDS = 0.1  # of a waveform: the patches of a log-mel must hold one


class Backbone(nn.Module):
    """Base of the networks. A subclass sets `front_end` and `feature_size`, and writes `encode`.

    So that single layers can be seen, or the last ones alone be trained, it says which its layers are, too: `layers`,
    `layer_sizes`, `pool`, and in `last_modules` the names of the modules that come after them.
    published_file, published_at: the checkpoint that `load_published` is meant for, and who publishes it.
    """

    front_end: FrontEnd
    feature_size: int
    segment_seconds = 10
    published_file = ""
    published_at = ""
    checkpoint_activations = False  # keep only what enters each block, and compute the rest again backwards
    last_modules: tuple[str, ...] = ()
    _pooled: list[Tensor] | None = None  # while several layers are seen, what `through` has passed

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that it takes: 32 kHz as published, 16 kHz of the tiny presets."""
        return self.front_end.rate_hz

    def log_mel(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) mono at `sample_rate_hz` -> (B, mels, frames), float32 also under autocast."""
        return self.front_end(waveform)

    def encode(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) -> features (B, D); augments the log-mel in training."""
        raise NotImplementedError

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Its layers, first to last."""
        raise NotImplementedError

    @property
    def layer_sizes(self) -> list[int]:
        """Size of each layer's output as `pool` gives it; the last is `feature_size`, and so are all where none says
        otherwise.
        """
        return [self.feature_size] * len(self.layers)

    def pool(self, x: Tensor) -> Tensor:
        """A layer's output -> (B, its size), as the features are pooled of the last one's."""
        raise NotImplementedError

    def encode_layers(self, log_mel: Tensor, numbers: Sequence[int]) -> Tensor:
        """log-mel (B, mels, frames) -> the pooled outputs of some layers, side by side: (B, sum of their sizes).

        numbers: of the layers, the first is 1; the last is the network's features. Each is brought to zero mean and
        unit variance, so that none outweighs another. 0 are the features as they are.
        """
        self._pooled = []
        try:
            features = self.encode(log_mel)
            pooled = [*self._pooled[: len(self.layers) - 1], features]
        finally:
            self._pooled = None
        outputs = [full_precision(pooled[number - 1] if number else features) for number in numbers]
        return torch.cat([F.layer_norm(x, x.shape[1:]) if n else x for n, x in zip(numbers, outputs, strict=True)], 1)

    def token_count(self, samples: int, training: bool = False) -> int:
        """Positions at which the network computes a waveform of `samples`, in evaluation or in training."""
        raise NotImplementedError

    def through(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        """x after the blocks, one after the other; their activations are kept or not, as is set."""
        for block in blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                contexts = partial(_contexts, block)
                x = cast(Tensor, checkpoint(block, x, use_reentrant=False, context_fn=contexts))
            else:
                x = block(x)
            if self._pooled is not None:
                self._pooled.append(self.pool(x))
        return x

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples of at most a segment) -> features (B, D). ValueError where it is longer or too short."""
        limit = self.segment_seconds * self.sample_rate_hz
        if waveform.shape[1] < LEAST_SECONDS * self.sample_rate_hz:
            raise ValueError(
                f"a waveform of {waveform.shape[1]} samples is shorter than {LEAST_SECONDS} s, at "
                f"{self.sample_rate_hz} Hz; pad it to a second, as DualEncoder.embed_audio does"
            )
        if waveform.shape[1] > limit:
            raise ValueError(
                f"a waveform of {waveform.shape[1]} samples is longer than a segment ({limit}); "
                "cut it, as DualEncoder.embed_audio does"
            )
        return self.encode(self.log_mel(waveform))

    def save(self, folder: Path) -> None:
        """Write what rebuilds it beside its name and weights: nothing, for a preset."""

    def published_names(self, state: dict[str, Any]) -> dict[str, Any]:
        """Rename a published state dict's keys to ours; parts that features do not need are left out here."""
        return state

    def load_published(self, source: str | Path | Mapping[str, Any]) -> None:
        """Load a published checkpoint (path or state dict) strictly; ValueError names the first keys that differ.

        Plain layouts, one nested under `model`, and Lightning's `state_dict` are understood. A weight must be a finite
        floating-point number, a counter an integer. Files are read by safetensors or `corrlib.models.published`: what a
        pickle names beside tensors is left out, and never run. FileNotFoundError says where the file is published.
        """
        state: dict[str, Any] = dict(source) if isinstance(source, Mapping) else self._read(Path(source))
        label = "the state dict" if isinstance(source, Mapping) else str(source)
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
            raise ValueError(
                f"{label} does not fit {type(self).__name__}: {len(wrong)} keys differ, first "
                f"{'; '.join(wrong[:3])}; choose the backbone that this file belongs to"
            )
        self.load_state_dict({key: _usable(state[key], own[key], f"{key} of {label}") for key in own})

    def _read(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            where = f"; it is published as {self.published_file} ({self.published_at})" if self.published_file else ""
            raise FileNotFoundError(
                f"weights file {path} does not exist{where}: put it there, for example under weights/"
            )
        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            found = read_checkpoint(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a checkpoint that can be read safely ({str(error).splitlines()[0][:100]}); "
                "use the published file"
            ) from None
        if not isinstance(found, dict):
            raise ValueError(f"{path} holds a {type(found).__name__}, not a state dict; use the published file")
        return found


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """In which a block is computed the first time, and once more when the gradient needs it."""
    return nullcontext(), frozen_statistics(block)


def _usable(value: Any, own: Tensor, name: str) -> Tensor:
    """A published value as a tensor of the kind that `own` is; ValueError where it is another, or not finite."""
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is a {type(value).__name__}, not a tensor; use the published file") from None
    if own.is_floating_point() and found.dtype not in FLOATING:
        kind = str(found.dtype).removeprefix("torch.")
        raise ValueError(f"{name} holds {kind} numbers, which are no weights of this network; use the published file")
    if not own.is_floating_point() and (found.is_floating_point() or found.is_complex()):
        raise ValueError(f"{name} must count in whole numbers, but holds {found.dtype}; use the published file")
    if found.layout != torch.strided:
        raise ValueError(f"{name} is a sparse tensor, which is no weight of this network; use the published file")
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"{name} holds numbers that are not finite (NaN or infinite); fetch the published file again")
    return found
