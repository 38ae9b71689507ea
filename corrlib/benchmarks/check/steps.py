"""Timed steps of a tower, as training takes them, at the size that the machine can bear."""

import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from corrlib.benchmarks.check.models import Sizes, Tower, build, hears_features, reads_features, sizes_of, tower_of
from corrlib.benchmarks.gpu.probe import pairs, sounds
from corrlib.benchmarks.measure import DEVICE, memory, seconds
from corrlib.benchmarks.models import WORDS
from corrlib.corpora.batches import AudioBatch, Batch, Features, Items, LogMels
from corrlib.correspondence.targets import annotated
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.precision import autocast
from corrlib.study.parameters import StageOneParameters
from corrlib.training.trainer import Trainer

TIMED = 3
PATIENCE_SECONDS = 1.0  # a step may take so long, for which its size is chosen on a processor
SPARE = 1.2  # of what weights, gradients and AdamW take, so much must be free for a first step


class NoRoom(MemoryError):
    """The machine's memory does not hold a tower while it is trained."""


@dataclass(frozen=True)
class Cost:
    """What a tower takes.

    A unit is a second of audio, of features a clip, of text a caption. units: of a timed step, of the `wanted` ones of
    a batch; whole: seconds of each timed step; unit, update: seconds a unit in training, and of the optimiser's step;
    forward: seconds a unit of audio or text in evaluation; unit_bytes: what a unit holds until its gradient is there;
    cast_bytes: copies of the weights in half precision; precision: in which it was measured.
    """

    units: int
    wanted: int
    whole: list[float]
    unit: float
    update: float
    forward: float
    unit_bytes: float
    cast_bytes: float
    sizes: Sizes
    precision: str
    notes: list[str] = field(default_factory=list)

    def fixed_bytes(self) -> float:
        """Weights, gradients and AdamW's two moments."""
        return self.sizes.weights + 3 * self.sizes.trained + self.cast_bytes


class Step(Trainer):
    """A Trainer of one batch, whose optimiser's share of a step is timed."""

    def __init__(self, encoder: DualEncoder, audio: AudioBatch, items: Items, p: StageOneParameters) -> None:
        clips = len(items.clip_ids)
        machine = {
            "batch_clips": clips,
            "captions_per_clip": 1,
            "part_clips": 0,
            "processes": 1,
            "compile_backbone": False,
        }
        no_source: Any = None
        super().__init__(encoder, no_source, items, annotated(), p.model_copy(update=machine), None)
        rows = torch.arange(clips)
        self.batch = Batch(rows, rows, items.annotated(rows, rows))
        self.parts: list[Any] = [audio]
        self.updating, self.held = 0.0, 0.0
        self.watched_embed: Callable[[Any], Tensor] | None = None  # whose memory is told

    def take(self) -> float:
        """One step; its loss."""
        self.encoder.train()
        return self._loss_of(self._step(self.batch, self.parts, 0))

    def _update(self, step: int) -> Tensor | None:
        found: list[Tensor | None] = []
        self.updating = taken(lambda: found.append(super(Step, self)._update(step)), self.parameters.threads)
        return found[0]

    def _embed(self, embed: Callable[[Any], Tensor], part: Any) -> Tensor:
        if embed != self.watched_embed:
            return super()._embed(embed, part)
        found: list[Tensor] = []
        self.held = 2**30 * memory(lambda: found.append(super(Step, self)._embed(embed, part)))
        self.watched_embed = None
        return found[0]


def taken(function: Callable[[], object], threads: int) -> float:
    """Seconds of a call; on a processor that others use, too, those in which it worked on this alone."""
    before = time.process_time()
    passed = seconds(function)
    return passed if DEVICE.type == "cuda" else min(passed, (time.process_time() - before) / threads)


def precision_here(precision: str) -> str:
    """In which precision a step is timed: half precision on a processor is bfloat16 where that is the faster one."""
    if DEVICE.type == "cuda" or precision == "float32":
        return precision
    best = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(1024, 1024, dtype=kind)
        best[kind] = min(taken(lambda m=matrix: m @ m, torch.get_num_threads()) for _ in range(3))
    return "bfloat16" if best[torch.bfloat16] < best[torch.float32] else "float32"


def free_bytes() -> int:
    """Bytes of memory that a step could take: of the GPU, or of the machine where there is none."""
    if DEVICE.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = open("/proc/meminfo", encoding="ascii").read().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def measure(
    p: StageOneParameters, tower: Tower, clip_seconds: float, clips: int, words: np.ndarray, until: float
) -> Cost:
    """The Cost of a tower: TIMED steps after one that does not count, or fewer where `until` (time.monotonic) is past.

    clip_seconds: of the batch's `clips`, the longest that occur; words: lengths of captions. On a GPU a batch as the
    study has it, or where that does not fit half of it, and so on; on a processor as much of it as a second allows.
    NoRoom where not even weights, gradients and AdamW's moments fit.
    """
    precision = precision_here(p.precision)
    p = p.model_copy(update={"precision": precision})
    torch.set_num_threads(p.threads)
    sizes = sizes_of(build(p, tower, torch.device("meta")), tower)
    if SPARE * (sizes.weights + 3 * sizes.trained) > free_bytes():
        raise NoRoom(f"{(sizes.weights + 3 * sizes.trained) / 2**30:.1f} GiB")
    torch.manual_seed(0)
    encoder = build(p, tower, DEVICE)
    segment = encoder.backbone.segment_seconds
    ready = hears_features(p) if tower == "audio" else reads_features(p)
    heard = max(1, int(np.ceil(min(clip_seconds, segment))))
    piece = 1 if ready or tower == "text" else heard
    pieces = 1 if ready or tower == "text" else max(1, int(np.ceil(clip_seconds / segment)))
    wanted = clips * pieces
    count, notes = (wanted if DEVICE.type == "cuda" or ready else 1), []
    while True:
        try:
            step, first = _begun(encoder, p, tower, count, piece, words)
        except torch.OutOfMemoryError:
            gc.collect()
            torch.cuda.empty_cache()
            if count == 1:
                raise NoRoom("more than there is") from None
            count //= 2
            notes = [f"a batch of {wanted * piece} does not fit; {count * piece} of it were timed"]
            continue
        larger = min(wanted, int(count * PATIENCE_SECONDS / max(first - step.updating, 1e-4)))
        if DEVICE.type == "cuda" or larger < 2 * count:
            break
        count = larger
    whole, updates = [first], [step.updating]
    while len(whole) < TIMED and time.monotonic() < until:
        whole.append(taken(step.take, p.threads))
        updates.append(step.updating)
    update = statistics.median(updates)
    cast = _cast_bytes(encoder, tower) if precision != "float32" else 0.0
    held = _held_on_gpu(step, sizes) if DEVICE.type == "cuda" else step.held
    return Cost(
        count * piece,
        wanted * piece,
        whole,
        max(0.0, statistics.median(whole) - update) / (count * piece),
        update,
        _forward(encoder, p, tower, 1 if ready else min(count, clips), heard, words),
        max(0.0, held - cast) / (count * piece),
        cast,
        sizes,
        precision,
        notes,
    )


def _begun(
    encoder: DualEncoder, p: StageOneParameters, tower: Tower, count: int, piece: int, words: np.ndarray
) -> tuple[Step, float]:
    """A Step that has taken a first step, in which the optimiser's state is made, and the seconds of a second one."""
    gc.collect()
    texts = captions(count, words) if tower == "text" else ["a dog barks"] * count
    step = Step(encoder, _audio(encoder, p, tower, count, piece), pairs(count, texts), p)
    if tower == "text" and reads_features(p):
        _remember(encoder, step.tokens)
    if DEVICE.type == "cpu":
        step.watched_embed = encoder.embed_batch if tower == "audio" else encoder.embed_tokens
    step.take()
    return step, taken(step.take, p.threads)


def _cast_bytes(encoder: DualEncoder, tower: Tower) -> float:
    """Bytes of the copies that autocast keeps of a tower's weights."""
    modules = [part for module in tower_of(encoder, tower) for part in module.modules()]
    products = [m for m in modules if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
    return sum(2.0 * parameter.numel() for m in products for parameter in m.parameters() if parameter.requires_grad)


def _held_on_gpu(step: Step, sizes: Sizes) -> float:
    """Bytes at the peak of a step beyond weights, moments and gradients."""
    step.optimiser.zero_grad(set_to_none=True)
    return max(0.0, 2**30 * memory(step.take) - sizes.trained)


def _audio(encoder: DualEncoder, p: StageOneParameters, tower: Tower, count: int, piece: int) -> AudioBatch:
    """So many pieces of audio of `piece` seconds each, as a batch has it; of the other tower, features."""
    if tower == "text" or hears_features(p):
        return Features(torch.randn(count, encoder.feature_size_of(encoder.audio_layers)))
    noise = sounds(count, encoder.backbone.sample_rate_hz, piece, DEVICE.type == "cuda")
    if not p.cache_log_mel:
        return noise
    with torch.no_grad():
        return LogMels(encoder.backbone.eval().log_mel(noise.waveform.to(DEVICE)).half().cpu())


def captions(count: int, words: np.ndarray) -> list[str]:
    """Captions that are as long as those of a corpus, hardly two alike, each with one token or two a word."""
    known, draw = sorted({word for text in WORDS for word in text.split()}), np.random.default_rng(0)
    return [" ".join(draw.choice(known, int(length))) for length in draw.choice(words, count)]


def _remember(encoder: DualEncoder, tokens: list[list[int]]) -> None:
    """Let an encoder know the features of some captions, as it knows all where its text encoder is not trained."""
    encoder.known_features = torch.randn(len(tokens), encoder.text.feature_size, device=DEVICE)
    encoder.known_captions = {tuple(ids): row for row, ids in enumerate(tokens)}


@torch.no_grad()
def _forward(
    encoder: DualEncoder, p: StageOneParameters, tower: Tower, count: int, heard_seconds: int, words: np.ndarray
) -> float:
    """Seconds a unit of the network in evaluation, as for a corpus's embeddings, or for features that are kept.

    count: pieces of audio of so many seconds each.
    """
    encoder.eval()
    encoder.known_features = None
    with autocast(DEVICE, p.precision):
        if tower == "text":
            tokens = encoder.text.tokenize(captions(max(count, 8), words))
            return taken(lambda: encoder.caption_features(tokens), p.threads) / len(tokens)
        layers = range(len(encoder.backbone.layers) + 1) if hears_features(p) else None
        noise = sounds(count, encoder.backbone.sample_rate_hz, heard_seconds, False)
        heard = (
            LogMels(encoder.backbone.log_mel(noise.waveform.to(DEVICE)).half().cpu())
            if layers is None and p.cache_log_mel
            else noise
        )
        if layers is not None:
            encoder.audio_features(heard, layers)  # of what was not computed yet, the first time does not count
        return taken(lambda: encoder.audio_features(heard, layers), p.threads) / (count * heard_seconds)
