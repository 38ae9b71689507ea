"""Where the sounds of a split come from: synthesized grains, or recordings. No grain is shared between splits."""
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.audio import read_clip
from corrlib.soundscapes.classes import FACTORS, SYNTHETIC, SoundClass
from corrlib.soundscapes.synthesis import distance

SPLITS = ("pretraining", "development", "validation", "evaluation")
SHARES = {"pretraining": 0.35, "development": 0.35, "validation": 0.12, "evaluation": 0.18}
VARIANTS = 8
EVENT_SECONDS, BACKGROUND_SECONDS = 2.0, 12.0


def _normalised(waveform):
    return (waveform / max(1e-9, float(np.sqrt(np.mean(np.square(waveform)))))).astype(np.float32)


@dataclass(frozen=True)
class Synthetic:
    """Grains made by the synthesizers: VARIANTS of each class and choice of attributes, made when first asked for."""

    seed: int
    split: str
    rate_hz: int
    classes: dict = field(default_factory=lambda: SYNTHETIC, hash=False, compare=False)

    def grain(self, sound):
        """float32 waveform of unit power for a scene's sound (a dict with class, attributes, grain)."""
        variant = sound["grain"] % VARIANTS
        attributes = tuple(sorted(sound["attributes"].items()))
        return _synthesize(self.seed, self.split, self.rate_hz, sound["class"], attributes, variant)


@lru_cache(maxsize=4096)
def _synthesize(seed, split, rate_hz, name, attributes, variant):
    kind, values = SYNTHETIC[name], dict(attributes)
    rng = np.random.default_rng([seed, SPLITS.index(split), zlib.crc32(repr((name, attributes)).encode()), variant])
    seconds = EVENT_SECONDS if kind.role == "event" else BACKGROUND_SECONDS
    pace = FACTORS[values.get("pace", values.get("strength", ""))] if {"pace", "strength"} & set(values) else 1.0
    pitch = FACTORS[values["pitch"]] if "pitch" in values else 1.0
    waveform = kind.synthesize(rng, rate_hz, seconds, pace, pitch)
    if values.get("distance") == "distant":
        waveform = distance(waveform, rate_hz, rng)
    return _normalised(waveform)


@dataclass(frozen=True)
class Recorded:
    """Recordings of one split, by label; near and distant are made by us, as in the synthetic library."""

    files: dict = field(hash=False, compare=False)      # label -> tuple of paths
    classes: dict = field(hash=False, compare=False)
    rate_hz: int = 16000

    def grain(self, sound):
        files = self.files[sound["class"]]
        background = self.classes[sound["class"]].role == "background"
        return _recording(files[sound["grain"] % len(files)], self.rate_hz, background, sound["attributes"].get("distance"))


@lru_cache(maxsize=1024)
def _recording(path, rate_hz, background, far):
    waveform = read_clip(path, rate_hz=rate_hz)
    if background:
        waveform = np.tile(waveform, int(np.ceil(BACKGROUND_SECONDS * rate_hz / len(waveform))))
    else:
        waveform = _loudest(waveform, rate_hz)
    if far == "distant":
        waveform = distance(waveform, rate_hz, np.random.default_rng(zlib.crc32(Path(path).name.encode())))
    return _normalised(waveform)


def _loudest(waveform, rate_hz):
    """The part of EVENT_SECONDS that begins just before a recording's first loud moment."""
    frame = rate_hz // 50
    level = np.sqrt(np.mean(np.square(waveform[:len(waveform) // frame * frame].reshape(-1, frame)), axis=1))
    start = max(0, int(np.argmax(level > 0.25 * level.max())) - 1) * frame
    return waveform[start:start + int(EVENT_SECONDS * rate_hz)]


def open_library(sounds, seed, split, rate_hz):
    """`synthetic`, or the folder of labelled recordings `sounds`: the library of one split."""
    if sounds == "synthetic":
        return Synthetic(seed, split, rate_hz)
    table = recordings(sounds)
    parts = {label: split_sources(label, rows, seed)[split] for label, rows in table.groupby("label")}
    return Recorded(parts, _recorded_classes(table), rate_hz)


def recordings(folder):
    """Table `path, label, role, source_id` of a folder: its metadata.csv, or one subfolder a label."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"sound folder {folder} does not exist; set `sounds` to a folder of labelled recordings "
                                "or to 'synthetic'")
    if (folder / "metadata.csv").is_file():
        table = pd.read_csv(folder / "metadata.csv", dtype=str)
        for column in ("file", "label"):
            if column not in table:
                raise ValueError(f"{folder / 'metadata.csv'} has no column '{column}'; it needs file and label")
        outside = [f for f in table["file"] if not (folder / f).resolve().is_relative_to(folder.resolve())]
        if outside:
            raise ValueError(f"{folder / 'metadata.csv'} names '{outside[0]}', which lies outside the folder; remove it")
        missing = [f for f in table["file"] if not (folder / f).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder / 'metadata.csv'} names '{missing[0]}' (of {len(missing)} such files), "
                                    "which is not there; restore it or remove its line")
        table["path"] = [str(folder / f) for f in table["file"]]
    else:
        found = [(str(p), p.parent.name.replace("_", " ")) for p in sorted(folder.glob("*/*"))
                 if p.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3")]
        table = pd.DataFrame(found, columns=["path", "label"])
    if table.empty:
        raise ValueError(f"sound folder {folder} holds no recordings; put one subfolder of wav, flac, ogg or mp3 files a "
                         "label into it, or a metadata.csv with file and label")
    table["role"] = table["role"] if "role" in table else "event"
    if not (table["role"] == "background").any():       # the labels with the longest recordings serve as backgrounds
        names = sorted(table["label"].unique())
        table.loc[table["label"].isin(names[:max(1, len(names) // 3)]), "role"] = "background"
    table["source_id"] = table["source_id"] if "source_id" in table else table["path"]
    return table[["path", "label", "role", "source_id"]]


def split_sources(label, rows, seed):
    """{split: tuple of paths}: all files of a source in one split, at least one source in each."""
    sources = sorted(rows["source_id"].unique())
    if len(sources) < len(SPLITS):
        raise ValueError(f"label '{label}' has {len(sources)} recordings of different sources, but every one of the "
                         f"{len(SPLITS)} splits needs its own; add recordings or remove the label")
    rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
    order = [sources[i] for i in rng.permutation(len(sources))]
    counts = {split: max(1, int(SHARES[split] * len(order))) for split in SPLITS[1:]}
    parts, start = {}, 0
    for split in (*SPLITS[1:], SPLITS[0]):
        stop = start + counts[split] if split in counts else len(order)
        mine = set(order[start:stop])
        parts[split], start = tuple(rows.loc[rows["source_id"].isin(mine), "path"]), stop
    return parts


def _recorded_classes(table):
    def one(label, role):
        words = ((label, "can be heard", "being heard"), (f"the sound of {label}", "is heard", "sounding"),
                 (f"a recording of {label}", "plays", "playing"), (label, "sounds", "sounding"))
        return SoundClass(label, role, ("distance",) if role == "event" else (), words)
    roles = table.groupby("label")["role"].first()
    return {label: one(label, role) for label, role in roles.items()}
