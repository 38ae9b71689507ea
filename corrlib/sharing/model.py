"""A trained dual encoder as an object: sounds and captions in, embeddings and similarities out."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from corrlib.audiofiles.decode import RATES_HZ
from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.audio import read_start, resample
from corrlib.corpora.batches import WaveformAudio, Waveforms
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.precision import autocast

Samples = np.ndarray | torch.Tensor
Sound = str | Path | tuple[Samples, int]  # a file, or (samples, rate in hertz)


@dataclass(frozen=True)
class RetrievalModel:
    """A dual encoder of a finished run, ready to be asked.

    name: how it was called; fingerprint: short hash of all that decides its embeddings; encoder: in evaluation, on its
    device; clip_seconds: of a longer sound this much is heard, from its start, as when the run was evaluated;
    precision: `float32`, `bfloat16` or `float16` (see corrlib.models.precision.autocast); provenance: what its run says
    of itself.

    >>> model = load_model("runs/builtin/ensemble-passt_tiny-seed101")  # doctest: +SKIP
    >>> model.similarity(["rain.wav", "dog.mp3"], ["a dog barks"])  # doctest: +SKIP
    """

    name: str
    fingerprint: str
    encoder: DualEncoder
    clip_seconds: float
    precision: str = "float32"
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def embedding_size(self) -> int:
        """E, the length of an embedding."""
        return self.encoder.embedding_size

    @property
    def sample_rate_hz(self) -> int:
        """The rate to which every sound is resampled."""
        return self.encoder.backbone.sample_rate_hz

    @property
    def device(self) -> torch.device:
        return next(self.encoder.audio_projection.parameters()).device

    def embed_audio(
        self,
        sounds: Sequence[Sound],
        batch: int = 16,
        longest_seconds: float | None = None,
        progress: bool = False,
        workers: int = 0,
    ) -> torch.Tensor:
        """Embeddings (N, E) of sounds, float32 of unit length, on the CPU.

        sounds: paths of audio files of any format that libsndfile reads, any rate, number of channels and length; or
        (samples, rate in hertz), samples floating point in [-1, 1], (samples,) or (samples, channels). batch: sounds at
        a time. longest_seconds: instead of the model's `clip_seconds`; `math.inf` hears a sound to its end (the mean
        over its segments). progress: a bar with the time left. workers: threads that read ahead.

        ValueError or FileNotFoundError names the first sound that cannot be read.
        """
        source = _Sounds(_several(sounds, "sounds"), self.sample_rate_hz, self._seconds(longest_seconds))
        groups = [range(start, min(start + batch, len(sounds))) for start in range(0, len(sounds), batch)]
        parts = (part for _, (part,) in load_ahead(source, ((None, [group]) for group in groups), workers))
        return self._embedded(parts, lambda part: self.encoder.embed_batch(part), [len(g) for g in groups], progress)

    def embed_captions(self, captions: Sequence[str], batch: int = 256, progress: bool = False) -> torch.Tensor:
        """Embeddings (C, E) of captions, float32 of unit length, on the CPU; `batch` captions at a time.

        Captions longer than the model's `max_tokens` are cut, with a warning. ValueError for an empty caption.
        """
        for row, caption in enumerate(_several(captions, "captions")):
            if not isinstance(caption, str) or not caption.strip():
                raise ValueError(f"caption {row} is {caption!r}; a caption is a text that says something")
        text, cut_before = self.encoder.text, self.encoder.text.cut_captions
        parts = [list(captions[start : start + batch]) for start in range(0, len(captions), batch)]
        embeddings = self._embedded(parts, self.encoder.embed_captions, [len(part) for part in parts], progress)
        if cut := text.cut_captions - cut_before:
            warnings.warn(
                f"{cut} of {len(captions)} captions are longer than {text.max_tokens} tokens; their ends were left out",
                stacklevel=2,
            )
        return embeddings

    def similarity(self, audio: Sequence[Sound] | torch.Tensor, captions: Sequence[str] | torch.Tensor) -> torch.Tensor:
        """Cosine similarity (N, C) in [-1, 1], rows sounds, columns captions.

        audio: sounds as in `embed_audio` or their embeddings (N, E); captions: texts or their embeddings (C, E).
        """
        sounds = audio if isinstance(audio, torch.Tensor) else self.embed_audio(audio)
        texts = captions if isinstance(captions, torch.Tensor) else self.embed_captions(captions)
        return sounds @ texts.T

    def read(self, sound: Sound, longest_seconds: float | None = None) -> np.ndarray:
        """The waveform (samples,) that the model hears of a sound, mono float32 at `sample_rate_hz`; errors as in
        `embed_audio`.
        """
        return _Sounds([sound], self.sample_rate_hz, self._seconds(longest_seconds)).read(0)

    def _seconds(self, longest_seconds: float | None) -> float:
        seconds = self.clip_seconds if longest_seconds is None else longest_seconds
        if not seconds > 0:
            raise ValueError(f"longest_seconds is {seconds}; it must be above 0 (math.inf: to the end)")
        return seconds

    @torch.no_grad()
    def _embedded(
        self, parts: Iterable[Any], embed: Callable[[Any], torch.Tensor], sizes: list[int], progress: bool
    ) -> torch.Tensor:
        found = [torch.empty(0, self.embedding_size)]
        self.encoder.eval()
        with autocast(self.device, self.precision), tqdm(total=sum(sizes), disable=not progress) as bar:
            for part, size in zip(parts, sizes, strict=True):
                found.append(embed(part).float().cpu())
                bar.update(size)
        return torch.cat(found)


class _Sounds:
    """An AudioSource (see corrlib.corpora.batches) of files and arrays, whose places are their numbers."""

    def __init__(self, sounds: Sequence[Sound], rate_hz: int, longest_seconds: float) -> None:
        self.sounds, self.rate_hz, self.longest_seconds = sounds, rate_hz, longest_seconds

    @staticmethod
    def places(clip_rows: Iterable[Any], generator: torch.Generator | None = None) -> list[int]:
        return [int(row) for row in clip_rows]

    def read(self, place: int) -> np.ndarray:
        """float32 waveform (samples,) of a sound."""
        sound = self.sounds[place]
        if isinstance(sound, str | Path):
            return read_start(sound, self.longest_seconds, self.rate_hz)
        if not isinstance(sound, tuple | list) or len(sound) != 2:
            raise ValueError(f"sound {place} is a {type(sound).__name__}; give a path or (samples, rate in hertz)")
        samples, rate_hz = sound
        mono = _mono(samples, int(rate_hz), f"sound {place}")
        if len(mono) > self.longest_seconds * rate_hz:
            mono = mono[: round(self.longest_seconds * rate_hz)]
        return resample(mono, int(rate_hz), self.rate_hz)

    @staticmethod
    def collate(pieces: Sequence[np.ndarray]) -> Waveforms:
        return WaveformAudio.collate(pieces)


def _several(things: Sequence[Any], name: str) -> Sequence[Any]:
    """The things, where they are a sequence of them and not one alone."""
    if isinstance(things, str | Path | np.ndarray) or not isinstance(things, Sequence):
        raise ValueError(f"{name} is a {type(things).__name__}; give a list, also of one")
    return things


def _mono(samples: Samples, rate_hz: int, name: str) -> np.ndarray:
    """float32 (samples,) of an array (samples,) or (samples, channels); ValueError where it is no sound."""
    array = np.asarray(samples)
    if array.dtype.kind != "f":
        raise ValueError(f"{name} holds {array.dtype}; give floating-point samples from -1 to 1")
    if array.ndim == 2 and array.shape[0] >= array.shape[1]:
        array = array.mean(axis=1)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has the shape {np.shape(samples)}; give (samples,) or (samples, channels)")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise ValueError(f"{name} has a rate of {rate_hz} Hz; rates are from {RATES_HZ[0]} to {RATES_HZ[1]}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds samples that are not finite numbers")
    return array.astype(np.float32)
