"""Audio backbone and text encoder, each with a linear projection into one space (paper, section 2)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corrlib.corpora.batches import LogMels, Waveforms
from corrlib.models.backbone import Backbone
from corrlib.models.precision import full_precision
from corrlib.models.text import TextEncoder


class DualEncoder(nn.Module):
    """Embeddings of unit length; their inner product is the similarity (cosine) of clip and caption.

    backbone: see corrlib.models.backbones; text: corrlib.models.text.TextEncoder; embedding_size: E; whole_segments:
    whether the last part of a clip longer than a segment is padded to one, as published, or to whole seconds only.
    """

    def __init__(
        self, backbone: Backbone, text: TextEncoder, embedding_size: int = 1024, whole_segments: bool = True
    ) -> None:
        super().__init__()
        self.backbone, self.text = backbone, text
        self.audio_projection = nn.Linear(backbone.feature_size, embedding_size)
        self.caption_projection = nn.Linear(text.feature_size, embedding_size)
        self.embedding_size, self.whole_segments = embedding_size, whole_segments

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

    def embed_batch(self, audio: Waveforms | LogMels) -> Tensor:
        """The audio of a batch as it was read, on the CPU -> (B, E) unit length, on the encoder's device."""
        device = self.audio_projection.weight.device
        if isinstance(audio, LogMels):
            return self.embed_log_mel(full_precision(audio.log_mel.to(device, non_blocking=True)))
        return self.embed_audio(audio.waveform.to(device, non_blocking=True), audio.lengths)

    def embed_audio(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """waveform (B, samples) padded at the end, lengths (B,) in samples, on the CPU -> (B, E) unit length.

        A clip longer than a segment is cut into segments, its tail padded to one (see `whole_segments`); features are
        the mean over the segments that hold audio, and no other is computed. A shorter clip is padded to whole seconds
        only. So a clip's embedding does not depend on its neighbours in the batch. ValueError names a clip whose length
        is not between 1 and the batch's width.
        """
        groups = self._segments(waveform.shape[1], lengths)
        total = waveform.new_zeros(len(waveform), self.backbone.feature_size, dtype=torch.float32)
        for samples, places in groups.items():
            pieces = [F.pad(waveform[b, start:stop], (0, samples - (stop - start))) for b, start, stop in places]
            features = self.backbone(torch.stack(pieces)).float()
            owners = torch.tensor([b for b, _, _ in places]).to(total.device, non_blocking=True)
            total = total.index_add(0, owners, features)
        counts = torch.tensor([self._segment_count(int(n)) for n in lengths]).to(total.device, non_blocking=True)
        return self._project(self.audio_projection, total / counts[:, None])

    def embed_log_mel(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) of clips no longer than a segment, as the front end gives it -> (B, E)."""
        return self._project(self.audio_projection, full_precision(self.backbone.encode(log_mel)))

    def embed_captions(self, captions: list[str]) -> Tensor:
        """list of B captions -> (B, E) unit length."""
        return self.embed_tokens(self.text.tokenize(captions))

    def embed_tokens(self, token_ids: list[list[int]]) -> Tensor:
        """list of B lists of token ids -> (B, E) unit length."""
        return self._project(self.caption_projection, full_precision(self.text(token_ids)))

    @staticmethod
    def _project(projection: nn.Linear, features: Tensor) -> Tensor:
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
