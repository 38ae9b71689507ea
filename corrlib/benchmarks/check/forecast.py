"""From what a step costs and how large the corpora are: hours of every run, memory of a step, bytes on disk."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from corrlib.benchmarks.check.models import Sizes, Tower, hears_features, key_of, reads_features, training_of
from corrlib.benchmarks.check.splits import Corpora, Split
from corrlib.benchmarks.check.steps import Cost
from corrlib.study.parameters import StageOneParameters
from corrlib.study.plan import Plan
from corrlib.training.checkpoints import KEPT

COPIES = 4  # of what is trained in a checkpoint: weights, the best epoch's, AdamW's two moments
Costs = dict[tuple, Cost]


class Machine(NamedTuple):
    """Whether there is a GPU, how many cores, and how many runs are made at a time."""

    gpu: bool
    cores: int
    runs: int


@dataclass(frozen=True)
class Run:
    """What a run of training takes: steps an epoch, epochs, seconds a step of computing, seconds in all."""

    steps: int
    epochs: int
    step_seconds: float
    seconds: float
    waits_for_files: bool


class Forecast:
    """Hours of a study's runs of training, by what the towers cost.

    costs: {key: Cost} (see `models.key_of`); reading: seconds that decoding a clip of a corpus takes, by its key in
    `corpora`; of a study that has heads alone, `features` are the seconds in which they are computed once.
    """

    def __init__(
        self,
        plans: dict[str, Plan],
        corpora: Corpora,
        costs: Costs,
        reading: Callable[[tuple[str, str], float], float],
        machine: Machine,
    ) -> None:
        self.plans, self.corpora, self.costs, self.reading, self.machine = plans, corpora, costs, reading, machine
        self._pretrained: set[tuple] = set()
        self._features: dict[tuple, float] = {}
        self.runs = {name: self._run(plan) for name, plan in plans.items() if plan.kind in ("stage1", "stage2")}

    @property
    def features(self) -> float:
        """Seconds of what is computed once, whatever runs use it."""
        return sum(self._features.values())

    def wall_seconds(self, names: list[str]) -> float:
        """Seconds until these runs are made, and the features that they use: of so many at a time as the machine makes,
        none before those that it needs.
        """
        ends: dict[str, float] = {}
        for name, plan in self.plans.items():
            own = self.runs[name].seconds if name in self.runs and name in names else 0.0
            ends[name] = own + max((ends.get(needed, 0.0) for needed in plan.needs), default=0.0)
        total = sum(self.runs[name].seconds for name in names if name in self.runs)
        return max(total / self.machine.runs, max(ends.values(), default=0.0)) + self.features

    def _run(self, plan: Plan) -> Run:
        p = training_of(plan, self.plans)
        place = (p.corpus, p.data)
        splits = self.corpora[place]
        development = splits["development"].share(p.development_share)
        steps = development.steps(p.batch_clips, p.captions_per_clip)
        items, processes = development.items(p.captions_per_clip), p.processes
        compute = self._training(p, development) / processes
        update = self.costs[key_of(p, "audio")].update + self.costs[key_of(p, "text")].update
        compute += steps * update / p.accumulate_batches
        read = items * self._read(p, place, development)
        epoch = self._beside(p, compute, read) + self._embedding(p, place, splits["validation"])
        if p.watched_clips:
            watched = development.share(min(1.0, p.watched_clips / development.clips))
            epoch += self._embedding(p, place, watched)
        judged = [splits["validation"], splits[p.evaluate_on], splits[p.evaluate_on]]
        judged += [development] if plan.kind == "stage1" else []
        once = sum(self._embedding(p, place, split) for split in judged)
        self._note_features(p, place, splits)
        total = p.epochs * epoch + once + self._pretraining(p, splits)
        return Run(steps, p.epochs, compute / max(1, steps), total, read > compute and bool(p.workers))

    def _training(self, p: StageOneParameters, split: Split) -> float:
        """Seconds of an epoch's networks, forwards and backwards."""
        audio, text = self.costs[key_of(p, "audio")], self.costs[key_of(p, "text")]
        items = split.items(p.captions_per_clip)
        heard = items * (1.0 if hears_features(p) else float(split.computed(p.clip_seconds, p.whole_segments).mean()))
        spent = heard * audio.unit + int(split.captions.sum()) * text.unit
        if p.part_clips and p.part_clips < p.batch_clips:  # each part is embedded once more, without a gradient
            spent += 0 if hears_features(p) else heard * audio.forward
            spent += 0 if reads_features(p) else int(split.captions.sum()) * text.forward
        return spent

    def _embedding(self, p: StageOneParameters, place: tuple[str, str], split: Split) -> float:
        """Seconds in which the clips and captions of a split are embedded once."""
        audio, text = self.costs[key_of(p, "audio")], self.costs[key_of(p, "text")]
        compute = 0.0
        if not hears_features(p):
            compute += split.clips * float(split.computed(p.clip_seconds, p.whole_segments).mean()) * audio.forward
        if not reads_features(p):
            compute += int(split.captions.sum()) * text.forward
        return self._beside(p, compute / p.processes, split.clips * self._read(p, place, split))

    def _read(self, p: StageOneParameters, place: tuple[str, str], split: Split) -> float:
        """Seconds in which one core decodes what a run needs of a clip; 0 where that is kept."""
        kept = split.keeps_log_mels(p) or p.cache_audio or hears_features(p)
        return 0.0 if kept else self.reading(place, p.clip_seconds)

    def _beside(self, p: StageOneParameters, compute: float, read: float) -> float:
        """Seconds of computing and of reading, which threads do at the same time."""
        at_once = min(p.workers, self.machine.cores)
        return max(compute, read / at_once) if at_once else compute + read

    def _note_features(self, p: StageOneParameters, place: tuple[str, str], splits: dict[str, Split]) -> None:
        """What is computed once for all runs that train nothing but heads behind the same network."""
        used = [splits["development"], splits["validation"], splits[p.evaluate_on]][
            : 2 if p.evaluate_on == "validation" else 3
        ]
        if hears_features(p):
            forward = self.costs[key_of(p, "audio")].forward
            clips = sum(split.clips for split in used)
            spent = sum(s.clips * float(s.computed(p.clip_seconds, p.whole_segments).mean()) for s in used) * forward
            network = ("audio", p.backbone, p.weights, place, p.clip_seconds, p.precision)
            self._features[network] = self._beside(p, spent, clips * self.reading(place, p.clip_seconds))
        if reads_features(p):
            captions = sum(int(split.captions.sum()) for split in used)
            network = ("text", p.text_encoder, p.text_weights, place, p.precision)
            self._features[network] = captions * self.costs[key_of(p, "text")].forward

    def _pretraining(self, p: StageOneParameters, splits: dict[str, Split]) -> float:
        """Seconds of the tiny presets' pretraining, of the first run that needs it."""
        network = (p.backbone, p.seed, p.data)
        if p.weights or not p.pretraining_epochs or "pretraining" not in splits or network in self._pretrained:
            return 0.0
        self._pretrained.add(network)
        split, audio = splits["pretraining"], self.costs[key_of(p, "audio")]
        heard = split.clips * float(split.computed(p.clip_seconds).mean())
        steps = split.clips // p.pretraining_batch_clips
        return p.pretraining_epochs * (heard * audio.unit + steps * audio.update)


def memory_of_step(
    p: StageOneParameters, splits: dict[str, Split], costs: Costs, part_clips: int | None = None
) -> float:
    """Bytes that a step holds at most, on one device: a batch of the longest clips of the training split.

    part_clips: of the run, if not given.
    """
    audio, text = costs[key_of(p, "audio")], costs[key_of(p, "text")]
    clips = -(-p.batch_clips // p.processes)
    part = p.part_clips if part_clips is None else part_clips
    clips = min(clips, part) if part else clips
    development = splits["development"]
    heard = clips * (1.0 if hears_features(p) else float(development.computed(p.clip_seconds, p.whole_segments).max()))
    captions = clips * min(p.captions_per_clip, int(development.captions.max()))
    return audio.fixed_bytes() + text.fixed_bytes() + heard * audio.unit_bytes + captions * text.unit_bytes


def largest_part(p: StageOneParameters, splits: dict[str, Split], costs: Costs, room: float) -> int:
    """The largest power of two of clips that a part may have for a step to stay within `room` bytes; 0: none may."""
    part = 2 ** int(math.log2(max(1, p.batch_clips - 1)))
    while part and memory_of_step(p, splits, costs, part) > room:
        part //= 2
    return part


@dataclass(frozen=True)
class Disk:
    """Bytes that a study leaves below a folder, and that it takes besides while it is made."""

    folder: Path
    kept: float
    passing: float = 0.0


def disk_of_runs(
    plans: dict[str, Plan],
    corpora: Corpora,
    sizes: Callable[[StageOneParameters, Tower], Sizes],
    root: Path,
    at_once: int,
) -> Disk:
    """Models, embeddings and, of as many runs as are made at a time, checkpoints."""
    kept, checkpoints = 0.0, []
    for plan in plans.values():
        if plan.kind not in ("stage1", "stage2"):
            continue
        p = training_of(plan, plans)
        audio, text = sizes(p, "audio"), sizes(p, "text")
        trained = audio.trained + text.trained
        kept += audio.weights + text.weights if plan.kind == "stage1" else trained
        splits = corpora[p.corpus, p.data]
        judged = {"validation", p.evaluate_on} | ({"development"} if plan.kind == "stage1" else set())
        kept += sum((splits[s].clips + int(splits[s].captions.sum())) * 4 * p.embedding_size for s in judged)
        checkpoints.append((KEPT + 1) * COPIES * trained)
    return Disk(root, kept, sum(sorted(checkpoints, reverse=True)[:at_once]))


def disk_of_caches(
    plans: dict[str, Plan], corpora: Corpora, encoders: Callable[[StageOneParameters], "Shape"]
) -> list[Disk]:
    """Log-mels, decoded audio and features that are kept in the data folders, each once."""
    found: dict[tuple, Disk] = {}
    for plan in plans.values():
        if plan.kind not in ("stage1", "stage2"):
            continue
        p, shape = training_of(plan, plans), encoders(training_of(plan, plans))
        place, folder = (p.corpus, p.data), Path(p.data)
        for split in dict.fromkeys(("development", "validation", p.evaluate_on)):
            one = corpora[place][split]
            key = (place, split)
            if reads_features(p):
                size = 4 * int(one.captions.sum()) * shape.caption_features
                found[(*key, "text", p.text_encoder, p.text_weights)] = Disk(folder, size)
            if hears_features(p):
                found[(*key, "features", p.backbone, p.weights)] = Disk(folder, 4 * one.clips * shape.clip_features)
            elif one.keeps_log_mels(p):
                seconds = float(one.seconds.max())
                found[(*key, "log-mel", shape.front_end)] = Disk(folder, 2 * one.clips * shape.log_mel_values * seconds)
            elif p.cache_audio:
                seconds = one.clips * float(one.seconds.mean())
                found[(*key, "audio", shape.rate_hz)] = Disk(folder, 2 * seconds * shape.rate_hz)
    return list(found.values())


class Shape(NamedTuple):
    """What a model keeps of a clip or caption: numbers of its log-mel a second, of all its layers, of its text."""

    rate_hz: int
    front_end: str
    log_mel_values: float
    clip_features: int
    caption_features: int
