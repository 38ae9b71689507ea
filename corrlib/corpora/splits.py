"""The splits of a run's corpus, each opened once: tables, items, audio, and the truth where it is known."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from corrlib import soundscapes
from corrlib.audiofiles.probe import remember_damaged
from corrlib.corpora.auditing import lengths_of
from corrlib.corpora.batches import AudioSource, Items, LogMelAudio, LogMelBackbone, WaveformAudio
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.decoded import DecodedAudio
from corrlib.corpora.load import load_corpus
from corrlib.corpora.parts import swap_captions, take
from corrlib.corpora.tables import tell
from corrlib.files import cache_of, locked

Rows = np.ndarray | list[int] | slice

ALIKE_SECONDS = 1e-9  # of two durations: less than a sample at any rate, and than what sums of seconds are wrong by
KEPT_HOURS = 50.0  # of audio whose log-mels `auto` keeps: about 5 GB
TAGGED_SEED = 101
TAGGED_SIZES = {"pretraining": 2048, "development": 1, "validation": 1, "evaluation": 1}  # as the default study has


def open_corpora(parameters: Any) -> "Corpora":
    """The Corpora of a run, ready to be read: its threads are set, and the built-in corpus is composed where it is
    missing.

    parameters: CorpusParameters or a kind of them. The built-in corpus of a seed is composed only in its default folder
    `data/builtin/seed-<seed>`, so that a notebook runs by itself.
    """
    torch.set_num_threads(getattr(parameters, "threads", 1))
    if parameters.corpus == "soundscapes":
        _compose_default(parameters.data)
    return Corpora(parameters)


def open_tagged(corpora: "Corpora") -> "Corpora":
    """The Corpora whose split `pretraining` has tags: the built-in corpus itself; of another, one composed beside it.

    That lies in `pretraining/` of the data folder (CORRLIB_DATA), once for all corpora and seeds.
    """
    if corpora.name == "soundscapes":
        return corpora
    folder = Path(os.environ.get("CORRLIB_DATA", "data")) / "pretraining"
    if not (folder / "corpus.json").is_file():
        print(f"composing clips to pretrain on in {folder} (about half a minute, once)", flush=True)
    soundscapes.write_corpus(folder, TAGGED_SEED, TAGGED_SIZES)
    here = {"corpus": "soundscapes", "data": str(folder), "tolerance": 0.0}
    return Corpora(corpora.parameters.model_copy(update=here))


def can_keep_log_mels(shortest: float, longest: float, hours: float, most: float) -> bool:
    """Whether clips of these lengths (seconds; in all, hours), of which `most` seconds are heard, let
    `cache_log_mel: auto` keep their log-mels.
    """
    return bool(longest - shortest < ALIKE_SECONDS and longest <= most and hours <= KEPT_HOURS)


class Part(NamedTuple):
    """What is used of a split: row numbers, in the whole split, of its clips and of its captions' texts; None: all, in
    order.
    """

    corpus: Corpus
    clip_rows: np.ndarray | None
    text_rows: np.ndarray | None


class Corpora:
    """The splits of a run's corpus. Of the training split as much as `development_share` says, with `swapped_captions`.

    Every method takes the name of a split, and what it gives is made once.

    parameters: see `open_corpora`. Errors are those of `load_corpus`.
    """

    def __init__(self, parameters: Any) -> None:
        self.name, self.folder, self.parameters = parameters.corpus, parameters.data, parameters
        self._whole: dict[str, Corpus] = {}
        self._parts: dict[str, Part] = {}
        self._items: dict[str, Items] = {}
        self._truths: dict[str, np.ndarray | None] = {}
        self._kept: dict[str, bool] = {}

    def whole(self, split: str) -> Corpus:
        """The Corpus of a split as it lies on disk."""
        if split not in self._whole:
            p = self.parameters
            self._whole[split] = load_corpus(self.name, self.folder, split, p.tolerance, p.exclude)
        return self._whole[split]

    def leave_out(self, paths: Iterable[str]) -> bool:
        """Open the splits again without files that were found unreadable, here and in every later run.

        Whether they are all damaged, by decoding the whole of them, or gone: then the audit leaves them out, or
        says that these are too many.
        """
        memory = lengths_of(self.folder)
        damaged = [remember_damaged(path, memory) or not Path(path).exists() for path in paths]
        for known in (self._whole, self._parts, self._items, self._truths):
            known.clear()
        return all(damaged)

    def corpus(self, split: str) -> Corpus:
        """The Corpus of a split as it is used."""
        return self._part(split).corpus

    def fingerprint(self, split: str) -> str:
        """Short hash of a split as it is used: ids, captions and the bytes of audio."""
        return self.corpus(split).fingerprint(self.folder)

    def items(self, split: str) -> Items:
        """The Items of a split as it is used."""
        if split not in self._items:
            self._items[split] = Items(self.corpus(split))
        return self._items[split]

    def truth(self, split: str) -> np.ndarray | None:
        """True correspondence float32 (clips, captions) of a split, or None where nobody knows it."""
        if split not in self._truths:
            known = self.name == "soundscapes"
            self._truths[split] = self.truth_of(split, slice(None), slice(None)) if known else None
        return self._truths[split]

    def truth_of(self, split: str, clip_rows: Rows, caption_rows: Rows) -> np.ndarray:
        """True correspondence float32 of some clips and captions (row numbers of `corpus(split)`)."""
        part = self._part(split)
        return soundscapes.load_truth(
            self.folder,
            split,
            clip_rows if part.clip_rows is None else part.clip_rows[clip_rows],
            caption_rows if part.text_rows is None else part.text_rows[caption_rows],
        )

    def audio(self, split: str, backbone: LogMelBackbone) -> AudioSource:
        """What gives a batch its audio: cached log-mels or decoded waveforms, as the parameters say."""
        cache = cache_of(self.folder)
        if self.keeps_log_mels(split, backbone):
            return LogMelAudio(self.whole(split), backbone, cache, clip_rows=self._part(split).clip_rows)
        rate_hz = backbone.sample_rate_hz
        store = DecodedAudio(self.corpus(split), rate_hz, cache) if self.parameters.cache_audio else None
        return WaveformAudio(self.corpus(split), rate_hz, self.parameters.clip_seconds, store)

    def keeps_log_mels(self, split: str, backbone: LogMelBackbone) -> bool:
        """Whether the log-mels of a split are computed once and kept, as `cache_log_mel` says.

        `auto`: where all clips are of one length and heard whole, no longer than `clip_seconds` or a segment, and not
        too many to be kept. What is found is printed, once. ValueError where kept ones are to be cropped.
        """
        wanted, heard = self.parameters.cache_log_mel, self.parameters.clip_seconds
        if not wanted:
            return False
        if split not in self._kept:
            seconds = self.whole(split).clips["duration_seconds"]
            if wanted is True and seconds.max() > heard:
                raise ValueError(
                    f"cache_log_mel keeps whole clips, and clip_seconds ({heard:g}) crops those of {seconds.max():.3g} "
                    "s; set cache_log_mel to auto or false, or raise clip_seconds"
                )
            self._kept[split] = wanted is True or self._can_keep(split, seconds, min(heard, backbone.segment_seconds))
        return self._kept[split]

    def _can_keep(self, split: str, seconds: pd.Series, most: float) -> bool:
        """`can_keep_log_mels`, and what was found is printed, once."""
        shortest, longest, hours = seconds.min(), seconds.max(), seconds.sum() / 3600
        kept = can_keep_log_mels(shortest, longest, hours, most)
        if kept not in self._kept.values():
            alike = longest - shortest < ALIKE_SECONDS
            lengths = f"of {longest:.3g} s" if alike else f"of {shortest:.3g} to {longest:.3g} s"
            lengths += f", {hours:.0f} hours" if hours > KEPT_HOURS else ""
            tell(f"log-mels are {'kept' if kept else 'computed anew in every batch'}: {split} clips are {lengths}")
        return kept

    def _part(self, split: str) -> Part:
        if split not in self._parts:
            self._parts[split] = self._take(split)
        return self._parts[split]

    def _take(self, split: str) -> Part:
        corpus, clip_rows, text_rows = self.whole(split), None, None
        share, swapped = (getattr(self.parameters, name, None) for name in ("development_share", "swapped_captions"))
        if split == "development" and share and share < 1:
            corpus, clip_rows, text_rows = take(corpus, share, self.parameters.seed)
        if split == "development" and swapped:
            corpus, places = swap_captions(corpus, swapped, self.parameters.seed)
            text_rows = places if text_rows is None else text_rows[places]
        return Part(corpus, clip_rows, text_rows)


def _compose_default(data: str) -> None:
    """Compose the built-in corpus of a seed where its default folder holds none yet."""
    default, folder = re.fullmatch(r"data/builtin/seed-(\d+)", data), Path(data)
    if not default or (folder / "corpus.json").is_file():
        return
    with locked(folder):  # two notebooks want it: one composes
        if not (folder / "corpus.json").is_file():
            print(f"composing the built-in corpus in {folder} (about a minute, once)", flush=True)
            soundscapes.write_corpus(folder, int(default.group(1)))
