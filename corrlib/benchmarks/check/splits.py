"""Sizes of a study's corpora: counted where their tables are at hand, else as published."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch

from corrlib import soundscapes
from corrlib.benchmarks.corpora import PUBLISHED, lengths_of
from corrlib.corpora import audiocaps, check_name, clotho, wavcaps
from corrlib.corpora.batches import steps_an_epoch
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.load import CORPORA, folder_of
from corrlib.corpora.splits import can_keep_log_mels
from corrlib.soundscapes.write import CAPTIONS
from corrlib.study import sources
from corrlib.study.fetch import missing_of_corpus
from corrlib.study.parameters import DataParameters, TrainingParameters
from corrlib.study.plan import Plan

SPLITS = ("development", "validation", "evaluation")
SEGMENT_SECONDS = 10
SAMPLED = 200  # files of a split that are asked for their length
QUANTILES = 1000  # by which a published distribution of lengths is told
# clips and captions a clip of each split, as published
COUNTS = {
    "clotho": {split: (clips, 5) for split, clips in clotho.EXPECTED.items()},
    "audiocaps": {split: (n, 1 if split == "development" else 5) for split, n in audiocaps.EXPECTED.items()},
    "wavcaps": {"development": (sum(wavcaps.EXPECTED.values()), 1)},
}
# the lengths of whose clips they are, in corrlib.benchmarks.corpora
LENGTHS = {"clotho": ["ClothoV2"], "audiocaps": ["AudioCaps"], "wavcaps": [n for n in PUBLISHED if "WavCaps" in n]}
WORDS = np.arange(8, 16)  # of a caption that nobody has counted: 8 to 20, most of them few


@dataclass(frozen=True)
class Split:
    """A split as far as it is known before it is read.

    captions (clips,): how many each clip has; seconds: lengths of clips that stand for all; words: of captions, as
    many; known: where the numbers are from; paths: some of its audio files.
    """

    captions: np.ndarray
    seconds: np.ndarray
    known: str
    words: np.ndarray = field(default_factory=lambda: WORDS)
    paths: tuple[str, ...] = ()

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return len(self.captions)

    def share(self, share: float) -> "Split":
        """The split of which only so many clips are used."""
        kept = self.captions[: max(1, round(share * self.clips))]
        return Split(kept, self.seconds, self.known, self.words, self.paths)

    def computed(self, clip_seconds: float, whole_segments: bool = True) -> np.ndarray:
        """Seconds of audio that are computed of each length: see `DualEncoder.embed_audio`."""
        seconds = np.minimum(self.seconds, clip_seconds)
        if whole_segments:
            long = SEGMENT_SECONDS * np.ceil(seconds / SEGMENT_SECONDS)
            return np.where(seconds > SEGMENT_SECONDS, long, np.ceil(seconds))
        return np.ceil(seconds)

    def keeps_log_mels(self, p: TrainingParameters) -> bool:
        """Whether a run keeps the log-mels of these clips; see `corrlib.corpora.splits.Corpora.keeps_log_mels`."""
        if p.cache_log_mel != "auto":
            return p.cache_log_mel
        hours = self.clips * float(self.seconds.mean()) / 3600
        heard = min(p.clip_seconds, SEGMENT_SECONDS)
        return can_keep_log_mels(float(self.seconds.min()), float(self.seconds.max()), hours, heard)

    def steps(self, batch_clips: int, captions_per_clip: int) -> int:
        """Batches of an epoch, as training takes them."""
        return steps_an_epoch(self._items, batch_clips, captions_per_clip)

    def items(self, captions_per_clip: int) -> int:
        """Training items of an epoch: clips, each as often as its captions ask for."""
        return int(-(-self.captions // captions_per_clip).sum())

    @cached_property
    def _items(self) -> Any:
        clips = torch.arange(self.clips).repeat_interleave(torch.from_numpy(self.captions.astype(np.int64)))
        return SimpleNamespace(clip_of_caption=clips, clips=self.clips)


Corpora = dict[tuple[str, str], dict[str, Split]]  # by corpus and folder


def look_at(plans: Iterable[Plan]) -> tuple[Corpora, list[str]]:
    """({(corpus, folder): {split: Split}} of all that is trained on, what is wrong with them in a sentence each).

    A corpus of which nothing is known, neither counted nor published, has no splits.
    """
    found: Corpora = {}
    problems: list[str] = []
    asked = {p.parameters["data"]: p.parameters for p in plans if p.kind == "data"}
    for plan in plans:
        if plan.kind not in ("stage1", "stage2"):
            continue
        corpus, folder = plan.parameters["corpus"], plan.parameters["data"]
        if (corpus, folder) in found:
            continue
        if corpus == "soundscapes":
            found[corpus, folder] = _composed(DataParameters(**asked[folder]))
            continue
        tolerance = plan.parameters["tolerance"]
        splits: dict[str, list[Split]] = {}
        for name, split in ((n, s) for s in SPLITS for n in _names(corpus, s)):
            one, wrong = _split(name, folder_of(folder, name, "+" in corpus), split, tolerance)
            problems += wrong
            splits.setdefault(split, []).extend([one] if one else [])
        known = all(len(splits[split]) == len(_names(corpus, split)) for split in SPLITS)
        found[corpus, folder] = {split: _together(parts) for split, parts in splits.items()} if known else {}
    return found, list(dict.fromkeys(problems))


def _names(corpus: str, split: str) -> list[str]:
    return check_name(corpus) if split == "development" else check_name(corpus)[:1]


def _composed(asked: DataParameters) -> dict[str, Split]:
    seconds = inspect.signature(soundscapes.write_corpus).parameters["scene_seconds"].default
    return {
        split: Split(np.full(clips, CAPTIONS), np.array([float(seconds)]), "composed")
        for split, clips in asked.sizes().items()
    }


def _split(name: str, folder: Path, split: str, tolerance: float) -> tuple[Split | None, list[str]]:
    """A split of one corpus and what is wrong with it; no Split where nobody knows how large it is."""
    listing, problems = CORPORA[name][0], []
    to_fetch = name in sources.CORPORA and bool(missing_of_corpus(name, folder))
    try:
        corpus = listing(folder, split, True)
        problems += _lost(name, split, corpus, tolerance)
        return _counted(name, corpus), problems
    except (FileNotFoundError, ValueError) as error:
        if not (to_fetch and isinstance(error, FileNotFoundError)):  # else one sentence tells of all that is to fetch
            problems.append(str(error))
    try:
        return _counted(name, listing(folder, split, False)), problems
    except (FileNotFoundError, ValueError):
        return _published(name, split), problems


def _lost(name: str, split: str, corpus: Corpus, tolerance: float) -> list[str]:
    """A sentence where more clips have no file than may be missing."""
    gone = [not path or not Path(path).is_file() for path in corpus.clips["path"]]
    if sum(gone) <= tolerance * len(gone):
        return []
    first = corpus.clips[gone].iloc[0]
    return [
        f"{sum(gone):,} of {len(gone):,} clips of {name} {split} have no audio file, first "
        f"{first['path'] or first['clip_id']}; put them there, or raise tolerance ({tolerance:g})"
    ]


def _counted(name: str, corpus: Corpus) -> Split:
    counts = corpus.captions["clip_id"].value_counts().reindex(corpus.clips["clip_id"], fill_value=0).to_numpy()
    rows = np.unique(np.linspace(0, len(corpus.clips) - 1, SAMPLED).astype(int))
    some = corpus.clips.iloc[rows]
    lengths, paths = [], []
    for path, start, duration in zip(some["path"], some["start_seconds"], some["duration_seconds"], strict=True):
        if np.isnan(length := duration):
            try:
                info = soundfile.info(path)
                length = info.frames / info.samplerate - start
            except (RuntimeError, TypeError, OSError):  # missing, or of a format that this library does not read
                continue
        if length > 0:
            lengths.append(length)
            paths.append(path)
    seconds = np.array(lengths) if lengths else _lengths(name)
    texts = corpus.captions["text"].iloc[:: max(1, len(corpus.captions) // SAMPLED)]
    words = np.array([len(text.split()) for text in texts])
    return Split(counts, seconds, "counted" if lengths else "clips counted", words, tuple(paths))


def _published(name: str, split: str) -> Split | None:
    if split not in COUNTS.get(name, {}):
        return None
    clips, captions = COUNTS[name][split]
    return Split(np.full(clips, captions), _lengths(name), "as published")


def _lengths(name: str) -> np.ndarray:
    """Lengths of a corpus's clips as far as they are published, equally likely; of others a segment."""
    parts = LENGTHS.get(name, [])
    if not parts:
        return np.array([float(SEGMENT_SECONDS)])
    clips = np.array([PUBLISHED[part][0] for part in parts])
    shares = np.maximum(1, QUANTILES * clips // clips.sum())
    return np.concatenate(
        [
            np.quantile(lengths_of(part), (np.arange(share) + 0.5) / share)
            for part, share in zip(parts, shares, strict=True)
        ]
    )


def _together(parts: list[Split]) -> Split:
    """Several splits as one, each by its share of the clips."""
    if len(parts) == 1:
        return parts[0]
    total = sum(part.clips for part in parts)
    taken = [max(1, round(QUANTILES * part.clips / total)) for part in parts]

    def quantiles(values: np.ndarray, count: int) -> np.ndarray:
        return np.quantile(values, (np.arange(count) + 0.5) / count)

    return Split(
        np.concatenate([part.captions for part in parts]),
        np.concatenate([quantiles(part.seconds, n) for part, n in zip(parts, taken, strict=True)]),
        " and ".join(dict.fromkeys(part.known for part in parts)),
        np.concatenate([quantiles(part.words, n).round().astype(int) for part, n in zip(parts, taken, strict=True)]),
        tuple(path for part in parts for path in part.paths),
    )
