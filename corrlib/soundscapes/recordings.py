"""Labelled recordings to compose scenes from: find them, share their sources among the splits, decode and cut them.

A folder holds one subfolder a label, or a metadata.csv with the columns `file` and `label`, and if known `role`
(background or event) and `source_id` (all files of a source go into one split; without it each file is a source).
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none

from corrlib.audiofiles.decode import AUDIO_SUFFIXES, read
from corrlib.audiofiles.probe import Probed, probe, probe_all
from corrlib.files import memory_of

SHARES = {"pretraining": 0.4, "development": 0.3, "validation": 0.1, "evaluation": 0.2}
TOO_FEW = "too few"
SHORTEST_SECONDS, SILENT = 0.1, 1e-4  # of a recording; its largest sample
MEND = "add recordings of other sources, or leave it out (`leave_out`)"


def find_recordings(folder: str | Path, leave_out: Sequence[str] | str = (), tolerance: float = 0.0) -> pd.DataFrame:
    """Table `path, label, role, source_id` of a folder, without the labels in `leave_out`.

    All files are decoded in one pass. Those that cannot be used are listed aloud, each with its reason, and left out if
    they are at most the share `tolerance` of all, else it is a ValueError.
    `leave_out` may also be "too few": every label with fewer sources than there are splits.
    FileNotFoundError or ValueError names the folder, column, file or label that is wrong, and the mend.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"sound folder {folder} does not exist; set `sounds` to a folder of labelled recordings or to 'synthetic'"
        )
    table = _listed(folder) if (folder / "metadata.csv").is_file() else _subfolders(folder)
    if table.empty:
        raise ValueError(
            f"sound folder {folder} holds no recordings; put one subfolder of {', '.join(AUDIO_SUFFIXES)} files "
            "a label into it, or a metadata.csv with file and label"
        )
    table = _usable(folder, table, tolerance)
    table = table.assign(source_id=table["source_id"] if "source_id" in table else table["path"])
    sources = table.groupby("label")["source_id"].nunique()
    few = list(sources.index[sources < len(SHARES)])
    if isinstance(leave_out, str) and leave_out != TOO_FEW:
        raise ValueError(f"leave_out is '{leave_out}'; give a list of labels, or '{TOO_FEW}'")
    leave_out = few if leave_out == TOO_FEW else leave_out
    unknown = sorted(set(leave_out) - set(sources.index))
    if unknown:
        raise ValueError(f"leave_out names '{unknown[0]}', which is no label; labels: {', '.join(sources.index)}")
    few = [label for label in few if label not in leave_out]
    if few:
        also = f" (so do {', '.join(few[1:])})" if len(few) > 1 else ""
        raise ValueError(
            f"label '{few[0]}' has recordings of {sources[few[0]]} sources but needs {len(SHARES)}, one for "
            f"each split{also}; {MEND.replace('it', 'them') if also else MEND}"
        )
    table = table[~table["label"].isin(leave_out)].reset_index(drop=True)
    return _with_roles(folder, table)


def _listed(folder: Path) -> pd.DataFrame:
    listing = folder / "metadata.csv"
    table = pd.read_csv(listing, dtype=str, keep_default_na=False)
    for column in ("file", "label"):
        if column not in table:
            raise ValueError(f"{listing} has no column '{column}'; it needs file and label")
    for column in table.columns.intersection(["file", "label", "role", "source_id"]):
        empty = np.flatnonzero(table[column].str.strip() == "")
        if len(empty):
            raise ValueError(f"{listing} line {empty[0] + 2} has no {column}; fill it in or remove the line")
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise ValueError(f"{listing} lists '{twice.iloc[0]}' more than once; remove one line")
    for file in table["file"]:
        if not (folder / file).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{listing} names '{file}', which lies outside the folder; move it in or remove its line")
    table["path"] = [str(folder / f) for f in table["file"]]
    return table


def _subfolders(folder: Path) -> pd.DataFrame:
    rows = []
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(str(p) for p in sub.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES)
        if not files:
            raise ValueError(
                f"sound folder {sub} holds no {', '.join(AUDIO_SUFFIXES)} file; add recordings or remove it"
            )
        rows += [(path, sub.name.replace("_", " ")) for path in files]
    return pd.DataFrame(rows, columns=["path", "label"])


def _with_roles(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    if "role" not in table:
        table["role"] = np.where(table["label"].isin(_steadiest(table)), "background", "event")
    wrong = table[~table["role"].isin(["background", "event"])]
    if len(wrong):
        raise ValueError(
            f"{folder / 'metadata.csv'} gives '{wrong['path'].iloc[0]}' the role "
            f"'{wrong['role'].iloc[0]}'; a role is background or event"
        )
    roles = table.groupby("label")["role"].unique()
    both = [label for label, found in roles.items() if len(found) > 1]
    if both:
        raise ValueError(f"label '{both[0]}' is both background and event; give all its recordings one role")
    for role in ("background", "event"):
        if role not in set(table["role"]):
            raise ValueError(f"sound folder {folder} has no label that serves as {role}; add one (scenes need both)")
    return table[["path", "label", "role", "source_id"]]


def _steadiest(table: pd.DataFrame) -> list[str]:
    """Without roles the steadiest third of the labels, at least one, are backgrounds.

    Steadiness: the share of a recording's 50 ms frames within 12 dB of its loudest ones (90th percentile of the
    level), median over the first five recordings of a label.
    """
    labels = sorted(table["label"].unique())
    steady = {}
    for label in labels:
        levels = [frame_levels(decode(p, 8000), 400) for p in table.loc[table["label"] == label, "path"][:5]]
        steady[label] = np.median([np.mean(x > 0.25 * np.quantile(x, 0.9)) for x in levels])
    return sorted(labels, key=lambda label: (-steady[label], label))[: max(1, len(labels) // 3)]


def split_sources(table: pd.DataFrame, seed: int) -> dict[str, str]:
    """{source_id: split}: about SHARES of each label's sources, at least one of every label in every split.

    A source with recordings of several labels is shared out once, with its rarest label.
    """
    sources = {str(label): sorted(rows["source_id"].unique()) for label, rows in table.groupby("label")}
    parts: dict[str, str] = {}
    for label in sorted(sources, key=lambda name: (len(sources[name]), name)):
        mine = sources[label]
        counts = {split: sum(parts.get(s) == split for s in mine) for split in SHARES}
        free = [s for s in mine if s not in parts]
        rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
        for source in (free[i] for i in rng.permutation(len(free))):
            split = min(SHARES, key=lambda s: (counts[s] > 0, counts[s] - SHARES[s] * len(mine)))
            parts[source], counts[split] = split, counts[split] + 1
        if not all(counts.values()):
            bare = next(split for split in counts if not counts[split])
            raise ValueError(
                f"label '{label}' has no recording left for the {bare} split, as it shares sources with other "
                f"labels; {MEND}"
            )
    return parts


def fingerprint(table: pd.DataFrame, folder: str | Path) -> str:
    """Short hash of the recordings' names, labels, roles, sources and sizes, wherever the folder lies."""
    digest = hashlib.sha256()
    rows: list[Any] = list(table.sort_values("path").itertuples())
    for row in rows:
        name = Path(row.path).relative_to(folder).as_posix()
        source = name if row.source_id == row.path else row.source_id
        digest.update(f"{name}\t{row.label}\t{row.role}\t{source}\t{Path(row.path).stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def decode(path: str | Path, rate_hz: int) -> np.ndarray:
    """Mono waveform (samples,) at `rate_hz`; ValueError names a recording that is unreadable or silent."""
    samples, rate = read(path, dtype="float64")
    waveform = samples.mean(axis=1)
    problem = _wrong(waveform, rate)
    if problem:
        raise ValueError(f"recording {path} is {problem}; replace or remove it")
    common = gcd(rate, rate_hz)
    return scipy.signal.resample_poly(waveform, rate_hz // common, rate // common)


def _usable(folder: Path, table: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """The recordings that can be used; see `find_recordings`."""
    probed = probe_all(table["path"].tolist(), memory_of(folder, "recordings"), _probe)
    reason = probed["problem"].set_axis(table.index)
    wrong = pd.DataFrame({"recording": table["path"], "problem": reason})[reason != ""]
    if len(wrong):
        print(f"{len(wrong)} of {len(table)} recordings cannot be used:\n{wrong.to_string(index=False)}", flush=True)
    if len(wrong) > tolerance * len(table):
        kinds = Counter(wrong["problem"].str.split(":").str[0])
        share = np.ceil(1000 * len(wrong) / len(table)) / 1000
        raise ValueError(
            f"{len(wrong)} of {len(table)} recordings in {folder} cannot be used "
            f"({', '.join(f'{n} {kind}' for kind, n in kinds.items())}; first: {wrong['recording'].iloc[0]}); replace "
            f"or remove them, or raise tolerance ({tolerance:g}) to at least {share:g}"
        )
    return table[reason == ""].reset_index(drop=True)


def _probe(path: str, size: int) -> Probed:
    """As `corrlib.audiofiles.probe.probe`, of all of a recording: it is looked at whether there is any sound in it."""
    found = probe(path, size)
    if found.problem:
        return found
    try:
        samples, rate = read(path, dtype="float64")
    except (ValueError, OSError):
        return Probed(0, 0, "unreadable")
    return found._replace(problem=_wrong(samples.mean(axis=1), rate))


def _wrong(waveform: np.ndarray, rate_hz: int) -> str:
    """Why a decoded recording is none to compose scenes of, or ""."""
    if not np.isfinite(waveform).all():
        return "unreadable: it holds samples that are not finite numbers"
    if len(waveform) < SHORTEST_SECONDS * rate_hz or np.abs(waveform).max() < SILENT:
        return f"silent or shorter than {SHORTEST_SECONDS:g} s"
    return ""


def frame_levels(waveform: np.ndarray, frame: int) -> np.ndarray:
    """Root mean square of each whole frame of `frame` samples."""
    whole = waveform[: max(1, len(waveform) // frame) * frame]
    return np.sqrt(np.mean(np.square(whole.reshape(-1, min(frame, len(whole)))), axis=1))


def cut_event(waveform: np.ndarray, seconds: float, rate_hz: int) -> np.ndarray:
    """The first loud part of a recording, to `seconds`; a shorter one comes again after 0.15 s of silence."""
    frame = rate_hz // 50
    level = frame_levels(waveform, frame)
    loud = np.flatnonzero(level > 0.1 * level.max())
    start, samples = max(0, int(np.argmax(level > 0.25 * level.max())) - 1), int(seconds * rate_hz)
    part = waveform[start * frame : (loud[-1] + 2) * frame][:samples]
    part = fade(part, rate_hz)
    return np.resize(np.concatenate([part, np.zeros(int(0.15 * rate_hz))]), samples) if len(part) < samples else part


def loop(waveform: np.ndarray, samples: int, rate_hz: int) -> np.ndarray:
    """`samples` of a background: its middle, or the whole again and again with short cross-fades."""
    if len(waveform) >= samples:
        start = (len(waveform) - samples) // 2
        return waveform[start : start + samples]
    n = min(len(waveform) // 4, rate_hz // 10)
    ramp = np.sqrt(np.linspace(0, 1, n))
    # the end runs into the beginning: repeated, this has no seam
    body = np.concatenate(
        [waveform[:n] * ramp + waveform[len(waveform) - n :] * ramp[::-1], waveform[n : len(waveform) - n]]
    )
    return np.resize(body, samples)


def fade(waveform: np.ndarray, rate_hz: int, seconds: float = 0.01) -> np.ndarray:
    """The waveform with short ramps at both ends."""
    n = min(len(waveform) // 4, int(seconds * rate_hz))
    out = np.array(waveform)
    ramp = np.linspace(0, 1, n, endpoint=False)
    out[:n] *= ramp
    out[len(out) - n :] *= ramp[::-1]
    return out
