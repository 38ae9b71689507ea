"""The single sounds of which the scenes of a split are mixed: synthesized, or cut from recordings.

A grain is named by its key, (class, attributes, number); no grain and no recording belongs to two splits.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from corrlib.soundscapes import recordings
from corrlib.soundscapes.classes import FACTORS, SYNTHETIC, VALUES, SoundClass
from corrlib.soundscapes.synthesis import distance
from corrlib.soundscapes.truth import Sound

SPLITS = ("pretraining", "development", "validation", "evaluation")
VARIANTS = 8
EVENT_SECONDS = 2.0
Key = tuple[str, tuple[tuple[str, str], ...], int]  # class, attributes with their values, number


def _key(sound: Sound, count: int) -> Key:
    return sound["class"], tuple(sorted(sound["attributes"].items())), sound["grain"] % count


def _unit_power(waveform: np.ndarray) -> np.ndarray:
    return (waveform / max(1e-9, float(np.sqrt(np.mean(np.square(waveform)))))).astype(np.float32)


def _seed(*words: Any) -> int:
    return zlib.crc32(repr(words).encode())


@dataclass(frozen=True)
class Synthetic:
    """Grains made by the synthesizers: VARIANTS of each class with each choice of attributes."""

    seed: int
    split: str
    rate_hz: int
    background_seconds: float
    classes: Mapping[str, SoundClass] = field(default_factory=lambda: SYNTHETIC)

    def key(self, sound: Sound) -> Key:
        """The key of a scene's sound (a dict, see `scenes`)."""
        return _key(sound, VARIANTS)

    def make(self, key: Key) -> np.ndarray:
        """float32 waveform (samples,) of unit power."""
        name, attributes, variant = key
        kind, values = SYNTHETIC[name], dict(attributes)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), _seed(name, attributes), variant])
        pace, pitch, density = (FACTORS.get(values.get(a, ""), 1.0) for a in ("pace", "pitch", "strength"))
        assert kind.synthesize is not None  # every class of SYNTHETIC has one
        if kind.role == "background":
            waveform = kind.synthesize(rng, self.rate_hz, self.background_seconds, density)
        else:
            waveform = kind.synthesize(rng, self.rate_hz, EVENT_SECONDS, pace, pitch)
        if values["distance"] == "distant":
            waveform = distance(waveform, self.rate_hz, rng)
        return _unit_power(waveform)


@dataclass(frozen=True)
class Recorded:
    """Grains cut from the recordings of one split; near and distant are made by us, as for the synthetic ones."""

    files: Mapping[str, tuple[str, ...]]  # of each label
    classes: Mapping[str, SoundClass]
    rate_hz: int
    background_seconds: float

    def key(self, sound: Sound) -> Key:
        """The key of a scene's sound (a dict, see `scenes`)."""
        return _key(sound, len(self.files[sound["class"]]))

    def make(self, key: Key) -> np.ndarray:
        """float32 waveform (samples,) of unit power; ValueError names a recording that cannot be used."""
        label, attributes, number = key
        waveform = recordings.decode(self.files[label][number], self.rate_hz)
        if self.classes[label].role == "background":
            waveform = recordings.loop(waveform, int(self.background_seconds * self.rate_hz), self.rate_hz)
        else:
            waveform = recordings.cut_event(waveform, EVENT_SECONDS, self.rate_hz)
        if dict(attributes)["distance"] == "distant":
            waveform = distance(waveform, self.rate_hz, np.random.default_rng(_seed(label, number)))
        return _unit_power(waveform)


def open_grains(
    table: pd.DataFrame | None, seed: int, split: str, rate_hz: int, scene_seconds: float
) -> Synthetic | Recorded:
    """The grains of one split: synthetic ones (table None), or of a table of recordings (see `recordings`)."""
    background_seconds = scene_seconds + 4.0  # a scene takes a random part
    if table is None:
        return Synthetic(seed, split, rate_hz, background_seconds)
    parts = recordings.split_sources(table, seed)
    mine = table[table["source_id"].map(parts) == split]
    files = {str(label): tuple(rows["path"]) for label, rows in mine.groupby("label")}
    return Recorded(files, recorded_classes(table), rate_hz, background_seconds)


def recorded_classes(table: pd.DataFrame) -> dict[str, SoundClass]:
    """{label: SoundClass} of a table of recordings; captions use the words of the label."""
    roles = table.groupby("label")["role"].first()
    words = ("can be heard", "is audible", "sounds", "is heard")
    return {
        str(label): SoundClass(str(label), role, ("distance",), tuple((str(label), verb, "") for verb in words))
        for label, role in roles.items()
    }


def example(
    name: str, seed: int = 0, rate_hz: int = 16000, split: str = "development", **attributes: str
) -> np.ndarray:
    """Waveform (samples,) of one synthetic class, for looking and listening, with peak 0.9: 2 s, a background 8 s.

    Attributes not given take their first value (slow, low, near), strength its last. ValueError: unknown name or value.
    """
    if name not in SYNTHETIC:
        raise ValueError(f"unknown class '{name}'; known: {', '.join(SYNTHETIC)}")
    for attribute, value in attributes.items():
        if attribute not in SYNTHETIC[name].attributes or value not in VALUES[attribute]:
            known = ", ".join(f"{a} ({' or '.join(VALUES[a])})" for a in SYNTHETIC[name].attributes)
            raise ValueError(f"'{name}' has no {attribute} '{value}'; it has {known}")
    full = {a: attributes.get(a, VALUES[a][a == "strength"]) for a in SYNTHETIC[name].attributes}
    grains = open_grains(None, seed, split, rate_hz, 4.0)
    waveform = grains.make(grains.key({"class": name, "attributes": full, "grain": 0}))
    return 0.9 * waveform / np.abs(waveform).max()
