"""A Trainer at one batch, which is taken again and again."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from corrlib.benchmarks.gpu.setup import Setup
from corrlib.benchmarks.measure import memory, seconds
from corrlib.benchmarks.models import captions_of
from corrlib.corpora.batches import Batch, Items, LogMels, WaveformAudio, Waveforms
from corrlib.correspondence.targets import Target, estimated
from corrlib.models import distributed
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import TINY, TextEncoder, random_roberta, train_tokenizer
from corrlib.study.parameters import StageOneParameters, check
from corrlib.training.outcome import Outcome
from corrlib.training.trainer import Trainer

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
VOCABULARY = 50265  # of roberta-large
PLAIN: dict[str, dict[str, Any]] = {"passt_tiny": {"patchout": (0, 0)}, "atst_tiny": {"warp": 1.0}}  # nothing drawn


def text_encoder(large: bool, dropout: float = 0.0) -> TextEncoder:
    """RoBERTa with random weights, of the published size or tiny, and a tokenizer of `captions_of`'s words."""
    tokenizer = train_tokenizer(captions_of(500))
    if large:
        return TextEncoder(random_roberta(VOCABULARY, dropout, positions=514, **LARGE), tokenizer)
    return TextEncoder(random_roberta(len(tokenizer), dropout, **TINY), tokenizer)


def pairs(clips: int, texts: list[str] | None = None) -> Items:
    """The Items of so many clips of unknown sound, with a caption each: `texts`, or `captions_of` as many."""
    ids = [f"clip {number}" for number in range(clips)]
    captions = pd.DataFrame({"caption_id": ids, "clip_id": ids, "text": texts or captions_of(clips)})
    corpus: Any = SimpleNamespace(clips=pd.DataFrame({"clip_id": ids, "duration_seconds": 10.0}), captions=captions)
    return Items(corpus)


class Probe(Trainer):
    """A Trainer whose batch is given: `gradient` of it, or `step` by step; the optimiser steps if `update` is set."""

    def __init__(self, encoder: DualEncoder, target: Target, values: dict[str, Any], parts: list[Any]) -> None:
        clips = sum(len(part.log_mel if isinstance(part, LogMels) else part.waveform) for part in parts)
        parameters = check(StageOneParameters, {"batch_clips": clips, "captions_per_clip": 1, **values})
        audio: Any = None
        super().__init__(encoder, audio, pairs(clips), target, parameters, None, w_sup=0.5, w_dist=0.5)
        rows = torch.arange(clips)
        self.batch, self.parts = Batch(rows, rows, self.items.annotated(rows, rows)), parts
        self.update, self.count = False, 0

    def _update(self, step: int) -> Tensor | None:
        return super()._update(step) if self.update else distributed.sum_gradients(self.trained)

    def begin_step(self) -> Outcome:
        """One step, which may not have ended."""
        self.encoder.train()
        torch.manual_seed(self.count)
        self.count += 1
        return self._step(self.batch, self.parts, self.count % self.steps_an_epoch)

    def step(self) -> float:
        """One step; its loss."""
        return self._loss_of(self.begin_step())

    def seconds_a_step(self, steps: int) -> float:
        """Of so many steps as training takes them: the outcome of each is read when the next is under way."""
        return seconds(lambda: self._take(steps)) / steps

    def gib_of_a_step(self) -> float:
        """At its peak, beyond weights and what the optimiser keeps."""
        self.optimiser.zero_grad(set_to_none=True)
        return memory(self.step)

    def _take(self, steps: int) -> None:
        behind = self.begin_step()
        for _ in range(steps - 1):
            now = self.begin_step()
            behind.read()
            behind = now
        behind.read()

    def gradient(self) -> tuple[float, dict[str, Tensor]]:
        """Loss and {name: gradient} of the batch, with the weights as they are."""
        self.count = 0
        loss = self.step()
        return loss, {name: p.grad for name, p in self.encoder.named_parameters() if p.grad is not None}


def sounds(clips: int, rate_hz: int, duration: float, pinned: bool) -> Waveforms:
    """Noise, padded at the end, as a batch has it."""
    draw = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(clips, int(duration * rate_hz), generator=draw)
    return Waveforms(waveform.pin_memory() if pinned else waveform, torch.full((clips,), waveform.shape[1]))


def teacher(clips: int) -> Target:
    """The estimate of a teacher of random embeddings."""
    draw = torch.Generator().manual_seed(1)
    embeddings = [torch.nn.functional.normalize(torch.randn(clips, 16, generator=draw), dim=-1) for _ in range(2)]
    return estimated([(embeddings[0], embeddings[1])], 0.05)


def probe(setup: Setup, name: str, waveforms: bool = False, drawn: bool = False, **values: Any) -> Probe:
    """A Probe of a backbone and a tiny text encoder with weights that the name decides; noise of a few seconds.

    waveforms: of mixed lengths, some longer than a segment, not log-mels; drawn: with what is drawn at random in
    training; values: of StageOneParameters.
    """
    clips = 7
    torch.manual_seed(0)
    encoder = DualEncoder(build_backbone(name, **({} if drawn else PLAIN.get(name, {}))), text_encoder(False), 32).to(
        setup.device
    )
    rate = encoder.backbone.sample_rate_hz
    if waveforms:
        pieces = [0.1 * torch.randn((2 + 7 * clip) * rate // 2) for clip in range(clips)]
        audio: Waveforms | LogMels = WaveformAudio.collate(pieces)
    else:
        with torch.no_grad():
            noise = sounds(clips, rate, 2, False).waveform.to(setup.device)
            audio = LogMels(encoder.backbone.eval().log_mel(noise).cpu())
    size = values.get("part_clips") or clips
    parts = [_rows(audio, slice(start, start + size)) for start in range(0, clips, size)]
    return Probe(encoder, teacher(clips), values, parts)


def _rows(audio: Waveforms | LogMels, rows: slice) -> Waveforms | LogMels:
    if isinstance(audio, LogMels):
        return LogMels(audio.log_mel[rows])
    return Waveforms(audio.waveform[rows], audio.lengths[rows])
