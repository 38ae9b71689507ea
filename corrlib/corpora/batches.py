"""Training items in seeded order, and the audio of a batch: decoded waveforms or cached log-mels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch

from corrlib import SOURCES
from corrlib.corpora.audio import ClipError, crop_seconds, read_clip
from corrlib.corpora.corpus import ClipFile, Corpus
from corrlib.corpora.seeds import derive_seed
from corrlib.files import derived, digest, reserve

if TYPE_CHECKING:
    from corrlib.corpora.decoded import DecodedAudio

# the code that log-mels are made by, beside the backbone's own file
MADE_BY = (
    "models/frontends.py",
    "models/backbone.py",
    "audiofiles/decode.py",
    "corpora/audio.py",
    "corpora/batches.py",
)

SILENCE = 48000  # samples, in place of a clip where no other one of its part of the batch was read


@dataclass
class Batch:
    """clip_rows (B,) and caption_rows (C,): int64 row numbers in the corpus; annotated (B, C) bool."""

    clip_rows: torch.Tensor
    caption_rows: torch.Tensor
    annotated: torch.Tensor


@dataclass
class Waveforms:
    """The audio of a batch: waveform (B, samples) float32, padded at the end; lengths (B,) in samples.

    unread: {place in the batch: what is wrong} of clips that could not be read, where that is allowed (see
    `corrlib.corpora.ahead.load_ahead`); in their places stands another clip's audio, or silence.
    """

    waveform: torch.Tensor
    lengths: torch.Tensor
    unread: dict[int, str] = field(default_factory=dict)


@dataclass
class LogMels:
    """The audio of a batch as its log-mels (B, mels, frames), float16."""

    log_mel: torch.Tensor


@dataclass
class Features:
    """The audio of a batch as features (B, D) float32 of a backbone that is not trained."""

    features: torch.Tensor


AudioBatch = Waveforms | LogMels | Features


class Place(NamedTuple):
    """A part of a clip: its row number in the corpus, where the part starts and how long it is; None: to the end."""

    clip_row: int
    offset_seconds: float
    duration_seconds: float | None


class Items:
    """A corpus as integers: which clip each caption belongs to, in the order of the corpus's tables.

    clips, captions: how many there are; seconds (clips,) float64; clip_of_caption (captions,) int64 row numbers;
    texts, caption_ids (captions), clip_ids (clips): lists.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.seconds = torch.tensor(corpus.clips["duration_seconds"].to_numpy(float))
        self.clip_of_caption = torch.from_numpy(
            pd.Index(corpus.clips["clip_id"]).get_indexer(pd.Index(corpus.captions["clip_id"])).astype(np.int64)
        )
        self.clips, self.captions = len(corpus.clips), len(corpus.captions)
        self.texts: list[str] = corpus.captions["text"].tolist()
        self.clip_ids: list[str] = corpus.clips["clip_id"].tolist()
        self.caption_ids: list[str] = corpus.captions["caption_id"].tolist()

    def annotated(self, clip_rows: torch.Tensor, caption_rows: torch.Tensor) -> torch.Tensor:
        """(B, C) bool of row numbers (B,) and (C,): which caption was written for which clip; captions of the same
        clip all count.
        """
        return clip_rows[:, None] == self.clip_of_caption[caption_rows][None, :]


def epoch_batches(
    items: Items,
    batch_clips: int,
    captions_per_clip: int,
    seed: int,
    epoch: int,
    longest_seconds: float | None = None,
) -> Iterator[Batch]:
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
    groups = [
        piece
        for captions_of_clip in torch.split(by_clip, counts.tolist())
        for piece in torch.split(captions_of_clip, captions_per_clip)
    ]
    order = torch.randperm(len(groups), generator=generator)
    rest = len(order) % batch_clips
    if rest < len(order) and 2 * rest < batch_clips:
        order = order[: len(order) - rest]
    batches = list(order.split(batch_clips))
    if longest_seconds is not None:
        clip_of_group = [int(items.clip_of_caption[group[0]]) for group in groups]
        seconds = items.seconds[clip_of_group].clamp(max=longest_seconds).ceil()
        if seconds.unique().numel() > 1:
            batches = list(order[torch.argsort(seconds[order], stable=True)].split(batch_clips))
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
    for numbers in batches:
        chosen = [groups[i] for i in numbers.tolist()]
        clip_rows = torch.stack([items.clip_of_caption[group[0]] for group in chosen])
        caption_rows = torch.cat(chosen)
        yield Batch(clip_rows, caption_rows, items.annotated(clip_rows, caption_rows))


def steps_an_epoch(items: Items, batch_clips: int, captions_per_clip: int) -> int:
    """Number of batches that `epoch_batches` yields."""
    counts = torch.bincount(items.clip_of_caption, minlength=items.clips)
    groups = int(torch.div(counts + captions_per_clip - 1, captions_per_clip, rounding_mode="floor").sum())
    full, rest = divmod(groups, batch_clips)
    return full + (rest * 2 >= batch_clips or full == 0)


class AudioSource(Protocol):
    """What gives a batch its audio: `places` of clips, each of which is read, by any thread, and then collated.

    WaveformAudio, LogMelAudio or FeatureAudio; what a place is, only they know.
    """

    def places(self, clip_rows: Iterable[Any], generator: torch.Generator | None = None) -> list[Any]: ...

    def read(self, place: Any) -> Any: ...

    def collate(self, pieces: Sequence[Any]) -> AudioBatch: ...


class WaveformAudio:
    """Audio decoded on demand, only the part that is needed: random crops of `clip_seconds` in training, the first
    ones at evaluation. Shorter clips keep their own length.

    store: a DecodedAudio that holds the clips already, or None.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, clip_seconds: float, store: "DecodedAudio | None" = None) -> None:
        self.files = corpus.files()
        self.rate_hz, self.clip_seconds, self.store = rate_hz, clip_seconds, store

    def places(self, clip_rows: Iterable[Any], generator: torch.Generator | None = None) -> list[Place]:
        """The parts to read of clips, by row number (list, array or tensor): random crops if a generator is
        given (training).
        """
        return [
            Place(row, *crop_seconds(self.files[row].duration_seconds, self.clip_seconds, generator))
            for row in map(int, clip_rows)
        ]

    def read(self, place: Place) -> np.ndarray:
        """float32 waveform (samples,) at one of `places`; ClipError where it cannot be read, or is missing."""
        clip_row, offset_seconds, duration_seconds = place
        if self.store is not None:
            return self.store.read(clip_row, offset_seconds, duration_seconds)
        file = self.files[clip_row]
        try:
            return read_clip(file.path, file.start_seconds + offset_seconds, duration_seconds, self.rate_hz)
        except OSError as error:
            raise ClipError(str(error), file.path) from None

    @staticmethod
    def collate(pieces: Sequence[np.ndarray | torch.Tensor | ClipError]) -> Waveforms:
        """Waveforms (samples,), or errors in their places, -> Waveforms of a batch."""
        unread = {place: str(piece) for place, piece in enumerate(pieces) if isinstance(piece, ClipError)}
        there = [torch.as_tensor(piece) for piece in pieces if not isinstance(piece, ClipError)]
        other = iter(there)
        instead = there[0] if there else torch.zeros(SILENCE)
        waveforms = [instead if place in unread else next(other) for place in range(len(pieces))]
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        return Waveforms(_pinned(padded), torch.tensor([len(waveform) for waveform in waveforms]), unread)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """In page-locked memory where there is a GPU, so that the copy to it runs beside the computation."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


class LogMelBackbone(Protocol):
    """What `LogMelAudio` asks of a backbone (see corrlib.models.backbone.Backbone)."""

    training: bool
    front_end: Any

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def segment_seconds(self) -> float: ...

    def log_mel(self, waveform: torch.Tensor) -> torch.Tensor: ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def train(self, mode: bool = True) -> Any: ...


class ByRow:
    """Clips that are used whole: a place is a row number, which is read together with its batch."""

    @staticmethod
    def places(clip_rows: Iterable[Any], generator: torch.Generator | None = None) -> list[int]:
        """Row numbers as they are: nothing is drawn."""
        return [int(row) for row in clip_rows]

    @staticmethod
    def read(place: int) -> int:
        """The place itself: a batch is collated at once."""
        return place


class LogMelAudio(ByRow):
    """Log-mels computed once with the evaluation front end and kept on disk (float16, memory-mapped).

    For clips of one length, no longer than a segment. Training on them leaves out augmentations that act
    before the log-mel (random mel edges); those that act on it (patchout, frequency warping) stay.
    clip_rows: the clips of `corpus` that are used, by their numbers; all of them, if not given. A file that is damaged
    is made again, said aloud. ValueError where the clips differ in length or are too long.
    """

    def __init__(
        self,
        corpus: Corpus,
        backbone: LogMelBackbone,
        folder: str | Path,
        batch: int = 32,
        clip_rows: np.ndarray | None = None,
    ) -> None:
        heard = corpus.fingerprint(Path(folder).parent)
        key = [heard, backbone.front_end.settings()]
        own = f"{type(backbone).__module__.removeprefix('corrlib.').replace('.', '/')}.py"
        key += [SOURCES[file] for file in (*MADE_BY, own) if file in SOURCES]
        self.path = Path(folder) / f"logmel-{digest(key)[:16]}.npy"
        self.clip_rows = clip_rows
        derived(
            self.path,
            lambda part: self._compute(part, corpus, backbone, batch),
            "set cache_log_mel to false",
            lambda: corpus.fingerprint(Path(folder).parent) == heard,
        )
        self.log_mels = np.load(self.path, mmap_mode="r", allow_pickle=False)

    def _compute(self, part: Path, corpus: Corpus, backbone: LogMelBackbone, batch: int) -> None:
        files, was_training = corpus.files(), backbone.training
        out: np.memmap | None = None
        backbone.train(False)
        for start in range(0, len(files), batch):
            log_mel = self._of_files(files[start : start + batch], backbone)
            if out is None:
                out = np.lib.format.open_memmap(part, "w+", np.float16, (len(files), *log_mel.shape[1:]))
                reserve(part, part.stat().st_size)
            if log_mel.shape[1:] != out.shape[1:]:
                raise ValueError("cache_log_mel needs clips of one length; set cache_log_mel to false for this corpus")
            out[start : start + len(log_mel)] = log_mel
        assert out is not None  # a corpus has clips
        out.flush()
        backbone.train(was_training)

    @staticmethod
    def _of_files(files: list[ClipFile], backbone: LogMelBackbone) -> np.ndarray:
        """float16 (files, mels, frames)."""
        waveforms = [
            torch.as_tensor(read_clip(path, start, None if np.isnan(duration) else duration, backbone.sample_rate_hz))
            for path, start, duration in files
        ]
        longest = backbone.segment_seconds * backbone.sample_rate_hz
        if len({len(waveform) for waveform in waveforms}) > 1 or len(waveforms[0]) > longest:
            raise ValueError(
                "cache_log_mel needs clips of one length, at most a segment long; "
                "set cache_log_mel to false for this corpus"
            )
        device = next(backbone.parameters()).device
        with torch.no_grad():
            return backbone.log_mel(torch.stack(waveforms).to(device)).half().cpu().numpy()

    def collate(self, pieces: Sequence[int]) -> LogMels:
        """Row numbers -> LogMels of a batch."""
        rows = np.asarray(pieces)
        if self.clip_rows is not None:
            rows = self.clip_rows[rows]
        return LogMels(_pinned(torch.from_numpy(self.log_mels[rows])))

    def log_mel(self, clip_rows: Sequence[int], device: str | torch.device = "cpu") -> torch.Tensor:
        """float32 log-mels (B, mels, frames) of row numbers (B,)."""
        return self.collate(clip_rows).log_mel.to(device).float()


class FeatureAudio(ByRow):
    """Features (N, D) float32 of all clips of a split, by a backbone that is not trained: those of evaluation."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features = features

    def collate(self, pieces: Sequence[int]) -> Features:
        """Row numbers -> Features of a batch."""
        return Features(_pinned(self.features[torch.as_tensor(pieces, dtype=torch.int64)]))
