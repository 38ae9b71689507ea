"""The splits of a run's corpus, each opened once: tables, items, audio, and the truth where it is known."""

import fcntl
import re
from pathlib import Path

import torch

from corrlib import soundscapes
from corrlib.corpora.batches import Items, LogMelAudio, WaveformAudio
from corrlib.corpora.decoded import DecodedAudio
from corrlib.corpora.load import load_corpus
from corrlib.corpora.parts import swap_captions, take


def open_corpora(parameters):
    """The Corpora of a run, ready to be read: its threads are set, and the built-in corpus is composed where it is
    missing.

    parameters: CorpusParameters or a kind of them. The built-in corpus of a seed is composed only in its default folder
    `data/builtin/seed-<seed>`, so that a notebook runs by itself.
    """
    torch.set_num_threads(getattr(parameters, "threads", 1))
    if parameters.corpus == "soundscapes":
        _compose_default(parameters.data)
    return Corpora(parameters)


class Corpora:
    """The splits of a run's corpus. Of the training split as much as `development_share` says, with `swapped_captions`.

    Every method takes the name of a split, and what it gives is made once.
    """

    def __init__(self, parameters):
        self.name, self.folder, self.parameters = parameters.corpus, parameters.data, parameters
        self._whole, self._parts, self._items, self._truths = {}, {}, {}, {}

    def whole(self, split):
        """The Corpus of a split as it lies on disk."""
        if split not in self._whole:
            self._whole[split] = load_corpus(self.name, self.folder, split, self.parameters.tolerance)
        return self._whole[split]

    def corpus(self, split):
        """The Corpus of a split as it is used."""
        return self._part(split)[0]

    def fingerprint(self, split):
        """Short hash of a split as it is used: ids, captions and the bytes of audio."""
        return self.corpus(split).fingerprint(self.folder)

    def items(self, split):
        """The Items of a split as it is used."""
        if split not in self._items:
            self._items[split] = Items(self.corpus(split))
        return self._items[split]

    def truth(self, split):
        """True correspondence float32 (clips, captions) of a split, or None where nobody knows it."""
        if split not in self._truths:
            known = self.name == "soundscapes"
            self._truths[split] = self.truth_of(split, slice(None), slice(None)) if known else None
        return self._truths[split]

    def truth_of(self, split, clip_rows, caption_rows):
        """True correspondence float32 of some clips and captions (row numbers of `corpus(split)`)."""
        _, rows, texts = self._part(split)
        return soundscapes.load_truth(
            self.folder,
            split,
            clip_rows if rows is None else rows[clip_rows],
            caption_rows if texts is None else texts[caption_rows],
        )

    def audio(self, split, backbone):
        """What gives a batch its audio: cached log-mels or decoded waveforms, as the parameters say."""
        cache = Path(self.folder) / "cache"
        if self.parameters.cache_log_mel:
            return LogMelAudio(self.whole(split), backbone, cache, rows=self._part(split)[1])
        rate_hz = backbone.sample_rate_hz
        store = DecodedAudio(self.corpus(split), rate_hz, cache) if self.parameters.cache_audio else None
        return WaveformAudio(self.corpus(split), rate_hz, self.parameters.clip_seconds, store)

    def _part(self, split):
        """(corpus, rows of its clips in the whole split, rows of its captions' texts there; None: all, in order)."""
        if split not in self._parts:
            self._parts[split] = self._take(split)
        return self._parts[split]

    def _take(self, split):
        corpus, clip_rows, text_rows = self.whole(split), None, None
        share, swapped = (getattr(self.parameters, name, None) for name in ("development_share", "swapped_captions"))
        if split == "development" and share and share < 1:
            corpus, clip_rows, text_rows = take(corpus, share, self.parameters.seed)
        if split == "development" and swapped:
            corpus, places = swap_captions(corpus, swapped, self.parameters.seed)
            text_rows = places if text_rows is None else text_rows[places]
        return corpus, clip_rows, text_rows


def _compose_default(folder):
    """Compose the built-in corpus of a seed where its default folder holds none yet."""
    default, folder = re.fullmatch(r"data/builtin/seed-(\d+)", str(folder)), Path(folder)
    if not default or (folder / "corpus.json").is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:  # two notebooks want it: one composes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "corpus.json").is_file():
            print(f"composing the built-in corpus in {folder} (about a minute, once)", flush=True)
            soundscapes.write_corpus(folder, int(default.group(1)))
