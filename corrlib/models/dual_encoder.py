"""Audio backbone and text encoder, each with a projection into one space (paper, section 2)."""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corrlib.corpora.batches import AudioBatch, Features, LogMels
from corrlib.models.backbone import Backbone
from corrlib.models.precision import full_precision
from corrlib.models.text import TextEncoder
from corrlib.models.trained import head, keep_fixed, layers_of


class DualEncoder(nn.Module):
    """Embeddings of unit length; their inner product is the similarity (cosine) of clip and caption.

    backbone: see corrlib.models.backbones; text: corrlib.models.text.TextEncoder; embedding_size: E; whole_segments:
    whether the last part of a clip longer than a segment is padded to one, as published, or to whole seconds only;
    head_layers: 1 of linear projections, 2 of perceptrons; audio_layers: numbers of the backbone's layers that the
    audio's projection sees, `all` of them, or none for the features as published.
    """

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder,
        embedding_size: int = 1024,
        whole_segments: bool = True,
        head_layers: Literal[1, 2] = 1,
        audio_layers: Sequence[int] | Literal["all"] = (),
    ) -> None:
        super().__init__()
        self.backbone, self.text = backbone, text
        self.audio_layers = _layer_numbers(backbone, audio_layers)
        self.audio_projection = head(self.feature_size_of(self.audio_layers), embedding_size, head_layers)
        self.caption_projection = head(text.feature_size, embedding_size, head_layers)
        self.embedding_size, self.whole_segments, self.head_layers = embedding_size, whole_segments, head_layers
        self.fixed: list[nn.Module] = []  # what stays in evaluation mode
        self.fixed_towers: tuple[str, ...] = ()  # of `backbone` and `text`, those that are not trained at all
        self.known_captions: dict[tuple[int, ...], int] = {}  # rows of `known_features`, by token ids
        self.known_features: Tensor | None = None

    def train_only(self, audio: str, text: str) -> None:
        """Say what of backbone and text encoder is trained: `all`, `heads` (nothing) or `last:<n>` layers.

        What is not stays as it is in evaluation: no dropout, no patchout, no new statistics of a BatchNorm.
        """
        named = dict(self.backbone.named_modules())
        behind = [named[name] for name in self.backbone.last_modules]
        layers = self.backbone.layers if audio.startswith("last") else []
        self.fixed = keep_fixed(self.backbone, audio, layers, behind)
        self.fixed += keep_fixed(self.text, text, layers_of(self.text.model))
        towers = {"backbone": audio, "text": text}
        self.fixed_towers = tuple(tower for tower, what in towers.items() if what == "heads")

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that what is not trained stays in evaluation mode."""
        super().train(mode)
        for module in self.fixed:
            module.eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """The state that training changes: all but that of towers of which nothing is trained."""
        fixed = tuple(f"{tower}." for tower in self.fixed_towers)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(fixed)}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load what `trained_state` gave, strictly."""
        own = self.state_dict()
        left_out = own.keys() - self.trained_state().keys()
        self.load_state_dict({**{name: own[name] for name in left_out}, **state})

    def save_memory(self) -> None:
        """Activation checkpointing: what enters a block is kept, and all else computed again for the gradient.

        Less than half the memory of a step for a quarter more time: measured for PaSST s16, four segments of 10 s and
        one core, 0.44 of the memory and 1.25 of the seconds. At the size of passt_tiny only time is lost, 1.31 of it.
        """
        self.backbone.checkpoint_activations = True
        model = self.text.model
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)  # its new name
        enable({"use_reentrant": False})

    def compile_backbone(self) -> None:
        """Let `torch.compile` make kernels for the backbone; its first step takes a minute or more."""
        self.backbone.encode = torch.compile(self.backbone.encode, dynamic=True)

    def embed_batch(self, audio: AudioBatch) -> Tensor:
        """The audio of a batch as it was read, on the CPU -> (B, E) unit length, on the encoder's device."""
        return self._project(self.audio_projection, self.audio_features(audio))

    def feature_size_of(self, layers: Sequence[int]) -> int:
        """D of some of the backbone's layers side by side; 0, or none, is for its features as published."""
        sizes = (
            [self.backbone.feature_size, *self.backbone.layer_sizes] if any(layers) else [self.backbone.feature_size]
        )
        return sum(sizes[number] for number in layers or (0,))

    def audio_features(self, audio: AudioBatch, layers: Sequence[int] | None = None) -> Tensor:
        """The audio of a batch as it was read -> features (B, D), the mean over each clip's segments.

        layers: numbers of the backbone's layers, see `Backbone.encode_layers`; those that the head sees, if not given.
        """
        layers = self.audio_layers if layers is None else layers
        device = next(self.audio_projection.parameters()).device
        if isinstance(audio, Features):
            return audio.features.to(device, non_blocking=True)
        if isinstance(audio, LogMels):
            return self._of_log_mel(full_precision(audio.log_mel.to(device, non_blocking=True)), layers)
        return self._of_waveforms(audio.waveform.to(device, non_blocking=True), audio.lengths, layers)

    def embed_audio(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """waveform (B, samples) padded at the end, lengths (B,) in samples, on the CPU -> (B, E) unit length.

        A clip longer than a segment is cut into segments, its tail padded to one (see `whole_segments`); features are
        the mean over the segments that hold audio, and no other is computed. A shorter clip is padded to whole seconds
        only. So a clip's embedding does not depend on its neighbours in the batch. ValueError names a clip whose length
        is not between 1 and the batch's width.
        """
        return self._project(self.audio_projection, self._of_waveforms(waveform, lengths, self.audio_layers))

    def _of_waveforms(self, waveform: Tensor, lengths: Tensor, layers: Sequence[int]) -> Tensor:
        """As `embed_audio`, -> features (B, D)."""
        groups = self._segments(waveform.shape[1], lengths)
        total = waveform.new_zeros(len(waveform), self.feature_size_of(layers), dtype=torch.float32)
        for samples, places in groups.items():
            pieces = [F.pad(waveform[b, start:stop], (0, samples - (stop - start))) for b, start, stop in places]
            features = self._of_segments(torch.stack(pieces), layers).float()
            owners = torch.tensor([b for b, _, _ in places]).to(total.device, non_blocking=True)
            total = total.index_add(0, owners, features)
        counts = torch.tensor([self._segment_count(int(n)) for n in lengths]).to(total.device, non_blocking=True)
        return total / counts[:, None]

    def _of_segments(self, waveform: Tensor, layers: Sequence[int]) -> Tensor:
        """Waveforms (B, samples of at most a segment) -> features (B, D)."""
        if layers:
            return self.backbone.encode_layers(self.backbone.log_mel(waveform), layers)
        return self.backbone(waveform)

    def _of_log_mel(self, log_mel: Tensor, layers: Sequence[int]) -> Tensor:
        """log-mel (B, mels, frames) of clips no longer than a segment -> features (B, D)."""
        if layers:
            return self.backbone.encode_layers(log_mel, layers)
        return full_precision(self.backbone.encode(log_mel))

    def embed_log_mel(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) of clips no longer than a segment, as the front end gives it -> (B, E)."""
        return self._project(self.audio_projection, self._of_log_mel(log_mel, self.audio_layers))

    def embed_captions(self, captions: list[str]) -> Tensor:
        """list of B captions -> (B, E) unit length."""
        return self.embed_tokens(self.text.tokenize(captions))

    def embed_tokens(self, token_ids: list[list[int]]) -> Tensor:
        """list of B lists of token ids -> (B, E) unit length."""
        return self._project(self.caption_projection, self.caption_features(token_ids))

    def caption_features(self, token_ids: list[list[int]]) -> Tensor:
        """list of B lists of token ids -> features (B, D): known ones, where all are, else of the text encoder."""
        if self.known_features is not None:
            rows = [self.known_captions.get(tuple(ids)) for ids in token_ids]
            found = [row for row in rows if row is not None]
            if len(found) == len(rows):
                return self.known_features[torch.tensor(found, device=self.known_features.device)]
        return full_precision(self.text(token_ids))

    @staticmethod
    def _project(projection: nn.Module, features: Tensor) -> Tensor:
        return F.normalize(full_precision(projection(features)), dim=-1)

    def _segment_samples(self) -> int:
        return int(self.backbone.segment_seconds * self.backbone.sample_rate_hz)

    def _segment_count(self, length: int) -> int:
        return max(1, math.ceil(length / self._segment_samples()))

    def _segments(self, width: int, lengths: Tensor) -> dict[int, list[tuple[int, int, int]]]:
        """{padded segment length: [(clip, start, stop)]}, in samples."""
        whole, rate = self._segment_samples(), self.backbone.sample_rate_hz
        groups: dict[int, list[tuple[int, int, int]]] = {}
        for clip, length in enumerate(int(n) for n in lengths):
            if not 0 < length <= width:
                raise ValueError(
                    f"clip {clip} of the batch has length {length} samples in a batch {width} wide; "
                    "lengths must lie between 1 and the batch's width"
                )
            for start in range(0, length, whole):
                stop = min(start + whole, length)
                recipe = self.whole_segments and length > whole
                padded = whole if recipe else min(whole, math.ceil((stop - start) / rate) * rate)
                groups.setdefault(padded, []).append((clip, start, stop))
        return groups


def _layer_numbers(backbone: Backbone, chosen: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
    """The numbers of the chosen layers; ValueError where the backbone has no such layer."""
    if not chosen:
        return ()
    last = len(backbone.layers)
    numbers = tuple(range(1, last + 1)) if chosen == "all" else tuple(chosen)
    if wrong := [number for number in numbers if not 1 <= number <= last]:
        raise ValueError(
            f"audio_layers names layer {wrong[0]}, but this backbone has layers 1 to {last}; choose of them"
        )
    return numbers
