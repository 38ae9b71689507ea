"""Training items in seeded order, and the audio of a batch: decoded waveforms or cached log-mels."""

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.audio import crop_seconds, read_clip
from corrlib.corpora.seeds import derive_seed


@dataclass
class Batch:
    """clips (B,) and captions (C,): row numbers in the corpus; annotated (B, C) bool."""

    clips: torch.Tensor
    captions: torch.Tensor
    annotated: torch.Tensor


@dataclass
class Waveforms:
    """The audio of a batch: waveform (B, samples) float32, padded at the end; lengths (B,) in samples."""

    waveform: torch.Tensor
    lengths: torch.Tensor


@dataclass
class LogMels:
    """The audio of a batch as its log-mels (B, mels, frames), float16."""

    log_mel: torch.Tensor


class Items:
    """A corpus as integers: which clip each caption belongs to, in the order of the corpus's tables."""

    def __init__(self, corpus):
        self.seconds = torch.tensor(corpus.clips["duration_seconds"].to_numpy(float))
        self.clip_of_caption = torch.from_numpy(
            pd.Index(corpus.clips["clip_id"]).get_indexer(corpus.captions["clip_id"]).astype(np.int64)
        )
        self.clips, self.captions = len(corpus.clips), len(corpus.captions)
        self.texts = corpus.captions["text"].tolist()
        self.clip_ids, self.caption_ids = corpus.clips["clip_id"].tolist(), corpus.captions["caption_id"].tolist()

    def annotated(self, clips, captions):
        """(B, C) bool: which caption was written for which clip; captions of the same clip all count."""
        return clips[:, None] == self.clip_of_caption[captions][None, :]


def epoch_batches(items, batch_clips, captions_per_clip, seed, epoch, longest_seconds=None):
    """Yield the batches of one epoch; every caption is used once, in an order that (seed, epoch) alone decides.

    A training item is `captions_per_clip` captions of one clip (1: the published recipe). What remains of a
    clip's captions forms a smaller item; a last batch below half size is left out, as its few pairs contrast little.
    longest_seconds: the crop; where given, items of like length (of whole seconds) are batched together, shuffled
    among themselves and batch against batch.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "batches", epoch))
    shuffled = torch.randperm(items.captions, generator=generator)
    by_clip = shuffled[torch.argsort(items.clip_of_caption[shuffled], stable=True)]
    _, counts = torch.unique_consecutive(items.clip_of_caption[by_clip], return_counts=True)
    groups = [piece for own in torch.split(by_clip, counts.tolist()) for piece in torch.split(own, captions_per_clip)]
    order = torch.randperm(len(groups), generator=generator)
    rest = len(order) % batch_clips
    if rest < len(order) and 2 * rest < batch_clips:
        order = order[: len(order) - rest]
    batches = list(order.split(batch_clips))
    if longest_seconds is not None:
        seconds = items.seconds[[int(items.clip_of_caption[g[0]]) for g in groups]].clamp(max=longest_seconds).ceil()
        if seconds.unique().numel() > 1:
            batches = list(order[torch.argsort(seconds[order], stable=True)].split(batch_clips))
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
    for numbers in batches:
        chosen = [groups[i] for i in numbers.tolist()]
        clips = torch.stack([items.clip_of_caption[g[0]] for g in chosen])
        captions = torch.cat(chosen)
        yield Batch(clips, captions, items.annotated(clips, captions))


def steps_an_epoch(items, batch_clips, captions_per_clip):
    """Number of batches that `epoch_batches` yields."""
    counts = torch.bincount(items.clip_of_caption, minlength=items.clips)
    groups = int(torch.div(counts + captions_per_clip - 1, captions_per_clip, rounding_mode="floor").sum())
    full, rest = divmod(groups, batch_clips)
    return full + (rest * 2 >= batch_clips or full == 0)


class WaveformAudio:
    """Audio decoded on demand, only the part that is needed: random crops of `clip_seconds` in training, the first
    ones at evaluation. Shorter clips keep their own length.

    store: a DecodedAudio that holds the clips already, or None.
    """

    def __init__(self, corpus, rate_hz, clip_seconds, store=None):
        self.rows = list(corpus.clips[["path", "start_seconds", "duration_seconds"]].itertuples(index=False))
        self.rate_hz, self.clip_seconds, self.store = rate_hz, clip_seconds, store

    def places(self, clips, generator=None):
        """[(clip, offset, seconds or None)] of row numbers: random crops if a generator is given (training)."""
        return [(c, *crop_seconds(self.rows[c][2], self.clip_seconds, generator)) for c in map(int, clips)]

    def read(self, place):
        """float32 waveform (samples,) at one of `places`."""
        clip, offset, wanted = place
        if self.store is not None:
            return self.store.read(clip, offset, wanted)
        path, start, _ = self.rows[clip]
        return read_clip(path, start + offset, wanted, self.rate_hz)

    @staticmethod
    def collate(pieces):
        """Waveforms -> Waveforms of a batch."""
        pieces = [torch.as_tensor(piece) for piece in pieces]
        waveform = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        return Waveforms(_pinned(waveform), torch.tensor([len(piece) for piece in pieces]))


def _pinned(tensor):
    """In page-locked memory where there is a GPU, so that the copy to it runs beside the computation."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


class LogMelAudio:
    """Log-mels computed once with the evaluation front end and kept on disk (float16, memory-mapped).

    For clips of one length, no longer than a segment. Training on them leaves out augmentations that act
    before the log-mel (random mel edges); those that act on it (patchout, frequency warping) stay.
    rows: the clips of `corpus` that are used, by their numbers; all of them, if not given.
    """

    def __init__(self, corpus, backbone, folder, batch=32, rows=None):
        key = json.dumps([corpus.fingerprint(), backbone.front_end.settings()], sort_keys=True)
        self.path = Path(folder) / f"logmel-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:  # two runs want the same cache: one computes it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.path.is_file():
                self._compute(corpus, backbone, batch)
        self.log_mels, self.rows = np.load(self.path, mmap_mode="r"), rows

    def _compute(self, corpus, backbone, batch):
        rows = list(corpus.clips[["path", "start_seconds", "duration_seconds"]].itertuples(index=False))
        was_training, part = backbone.training, self.path.with_suffix(f".{os.getpid()}.part")
        out: np.memmap | None = None
        backbone.eval()
        for start in range(0, len(rows), batch):
            waves = [
                torch.as_tensor(read_clip(p, s, None if np.isnan(d) else d, backbone.sample_rate_hz))
                for p, s, d in rows[start : start + batch]
            ]
            if len({len(w) for w in waves}) > 1 or len(waves[0]) > backbone.segment_seconds * backbone.sample_rate_hz:
                raise ValueError(
                    "cache_log_mel needs clips of one length, at most a segment long; "
                    "set cache_log_mel to false for this corpus"
                )
            with torch.no_grad():
                log_mel = backbone.log_mel(torch.stack(waves).to(next(backbone.parameters()).device)).half().cpu()
            if out is None:
                out = np.lib.format.open_memmap(part, "w+", np.float16, (len(rows), *log_mel.shape[1:]))
                self._reserve(part)
            if log_mel.shape[1:] != out.shape[1:]:
                raise ValueError("cache_log_mel needs clips of one length; set cache_log_mel to false for this corpus")
            out[start : start + len(waves)] = log_mel.numpy()
        assert out is not None  # a corpus has clips
        out.flush()
        os.replace(part, self.path)
        backbone.train(was_training)

    def _reserve(self, part):
        """Take the room on disk now: a memory map that runs out of it kills the process without a word."""
        try:
            with open(part, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        except OSError as error:
            part.unlink()
            raise OSError(
                f"could not write {self.path} ({error.strerror}); free some space, or set cache_log_mel to false"
            ) from None

    @staticmethod
    def places(clips, generator=None):
        """Row numbers as they are: every clip is used whole."""
        return [int(c) for c in clips]

    @staticmethod
    def read(place):
        """A place is read together with its batch: the file is mapped into memory."""
        return place

    def collate(self, pieces):
        """Row numbers -> LogMels of a batch."""
        clips = np.asarray(pieces)
        return LogMels(_pinned(torch.from_numpy(self.log_mels[clips if self.rows is None else self.rows[clips]])))

    def log_mel(self, clips, device="cpu"):
        """float32 log-mels (B, mels, frames) of row numbers."""
        return self.collate(clips).log_mel.to(device).float()
