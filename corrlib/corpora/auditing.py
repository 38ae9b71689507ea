"""The audit before training: what is there of what the tables name, and what of it can be used."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corrlib.corpora import audiocaps, clotho, wavcaps
from corrlib.corpora.corpus import COPY, Corpus
from corrlib.corpora.exclusions import EXCLUDED
from corrlib.files import NotWritten, digest_file, replacing, write_atomically

PROBLEMS = ("missing", "unreadable", "zero-length", "duplicated")
MANY = 500  # files from which on what was found is kept on disk, for the next time
KEY = ["path", "size", "changed"]
LONGEST_SECONDS = 48 * 3600.0
RATES_HZ = (1000, 768000)  # as corrlib.corpora.audio reads
EXPECTED: dict[str, Mapping[str, int]] = {  # published number of clips
    "clotho": clotho.EXPECTED,
    "audiocaps": audiocaps.EXPECTED,
    "wavcaps": {"development": sum(wavcaps.EXPECTED.values())},
}


class AuditError(ValueError):
    """More clips cannot be used than the tolerance allows."""


def audit(corpus: Corpus, tolerance: float = 0.0, cache: str | Path | None = None) -> tuple[Corpus, pd.DataFrame]:
    """(Corpus of the clips that can be used, with their durations; table of the audit, one row a corpus).

    tolerance: the share of a corpus's clips that may be unusable before AuditError is raised. cache: folder for what
    was found of many files (by name, size and time of change), so that the next run need not open them.
    Table: corpus, split, published, listed, found, missing, unreadable, zero-length, duplicated, leaks, excluded,
    hours, rates.
    """
    clips = corpus.clips.copy()
    probed = _probe(clips["path"], cache)
    seconds = probed["seconds"] - clips["start_seconds"]
    clips["duration_seconds"] = np.fmin(clips["duration_seconds"], seconds)
    problem = probed["problem"].mask((probed["problem"] == "") & (seconds <= 0), "zero-length")
    again = clips[["path", "start_seconds"]].duplicated() & (problem == "")
    problem = problem.mask(again, "duplicated")
    excluded = clips.assign(reason=problem)[problem != ""][["clip_id", "path", "reason"]]
    summary = _summary(corpus, clips, problem, probed)
    _tolerate(clips, excluded, corpus.excluded, tolerance)
    return Corpus(clips, corpus.captions, corpus.metadata, corpus.excluded).without(excluded), summary


def _summary(corpus: Corpus, clips: pd.DataFrame, problem: pd.Series, probed: pd.DataFrame) -> pd.DataFrame:
    """The table of `audit`. problem: what is wrong with each clip, "" where nothing is; probed: see `_probe`."""
    rows = []
    before = corpus.excluded.astype(str)
    named, ruled_out = before["clip_id"].str.split("/").str[0], before["reason"].str.startswith(EXCLUDED)
    leaks, excluded = named[~ruled_out].value_counts(), named[ruled_out].value_counts()
    for (name, split), part in clips.groupby(["corpus", "split"], sort=False):
        kinds, usable = problem[part.index].value_counts(), part[problem[part.index] == ""]
        rates = sorted(set(probed["rate_hz"][usable.index].astype(int)))
        rows.append(
            {
                "corpus": name,
                "split": split,
                "published": EXPECTED.get(str(name), {}).get(str(split), ""),
                "listed": len(part),
                "found": len(usable),
                **{kind: int(kinds.get(kind, 0)) for kind in PROBLEMS},
                "leaks": int(leaks.get(name, 0)),
                "excluded": int(excluded.get(name, 0)),
                "hours": usable["duration_seconds"].sum() / 3600,
                "rates": ", ".join(map(str, rates)),
            }
        )
    return pd.DataFrame(rows)


def _tolerate(clips: pd.DataFrame, excluded: pd.DataFrame, before: pd.DataFrame, tolerance: float) -> None:
    """AuditError for the first corpus that lacks too many of its clips.

    before: what was left out when the corpus was listed, of which copies of held-out sounds count here.
    """
    copies = before[before["reason"].str.startswith(COPY)] if len(before) else before
    lost = pd.concat([excluded, copies], ignore_index=True)
    names = lost["clip_id"].str.split("/").str[0]
    for name, part in lost.groupby(names, sort=False):
        total = int((clips["corpus"] == name).sum()) + int((names[len(excluded) :] == name).sum())
        if len(part) > tolerance * total:
            first = part.iloc[0]
            kinds = Counter(part["reason"].where(~part["reason"].str.startswith(COPY), "also in another split"))
            what = first["path"] or first["clip_id"]
            if str(first["reason"]).startswith(COPY):
                what = f"{what} is {first['reason']}"
            raise AuditError(
                f"{len(part)} of {total} clips of {name} cannot be used ("
                f"{', '.join(f'{n} {kind}' for kind, n in kinds.items())}; first: {what}); restore them, or "
                f"raise tolerance ({tolerance:g}) to at least {np.ceil(1000 * len(part) / total) / 1000:g}"
            )


def _probe(paths: pd.Series, cache: str | Path | None) -> pd.DataFrame:
    """seconds, rate_hz, problem of each path ("" is missing), from the cache where nothing changed."""
    states = np.array([_state(name) for name in paths.tolist()], np.int64).reshape(-1, 2)
    files = pd.DataFrame({"path": paths, "size": states[:, 0], "changed": states[:, 1]})
    probed = pd.DataFrame({"seconds": np.nan, "rate_hz": np.nan, "problem": "missing"}, index=paths.index)
    there, remembered = files["size"] >= 0, None
    if cache is not None and len(paths) > MANY:
        remembered = Path(cache) / "probed.csv"
        known = files.merge(_known(remembered), how="left", on=KEY).set_axis(paths.index)
        same = known["problem"].notna() & there
        probed.loc[same] = known.loc[same, list(probed.columns)]
        there &= ~same
    fresh = [probe(name, size) for name, size in zip(files["path"][there], files["size"][there], strict=True)]
    probed.loc[there] = pd.DataFrame(fresh, columns=probed.columns, index=paths.index[there])
    if remembered is not None and fresh:
        _remember(remembered, pd.concat([files, probed], axis=1)[files["size"] >= 0])
    return probed


def _state(name: str) -> tuple[int, int]:
    """(size, time of change in ns) of a file, -1 where there is none."""
    try:
        state = os.stat(name)
    except OSError:
        return -1, -1
    return state.st_size, state.st_ctime_ns  # unlike the time of its content's change, nobody can set it


def probe(path: str | Path, size: int) -> tuple[float, float, str]:
    """(seconds, rate in Hz, problem or "") of one audio file of `size` bytes, from its header."""
    if not size:
        return np.nan, np.nan, "zero-length"
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return np.nan, np.nan, "unreadable"
    low, high = RATES_HZ
    if info.channels < 1 or not low <= info.samplerate <= high or not 0 <= info.duration <= LONGEST_SECONDS:
        return np.nan, np.nan, "unreadable"
    return (info.duration, info.samplerate, "") if info.frames else (np.nan, np.nan, "zero-length")


def _known(path: Path) -> pd.DataFrame:
    """What was found before: path, size, changed, seconds, rate_hz, problem; without rows where there is nothing."""
    kinds = {"path": str, "size": np.int64, "changed": np.int64, "seconds": float, "rate_hz": float, "problem": str}
    try:
        if path.with_name(f"{path.name}.digest").read_text() != digest_file(path):
            raise ValueError
        rows = pd.concat(
            pd.read_csv(
                path,
                dtype=kinds,
                keep_default_na=False,
                chunksize=20000,  # in less memory
                na_values={"seconds": [""], "rate_hz": [""]},
            ),
            ignore_index=True,
        )
        return rows[list(kinds)].drop_duplicates(KEY)
    except (OSError, ValueError, KeyError):
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _remember(path: Path, probed: pd.DataFrame) -> None:
    """Keep what was found, beside what is known of other files; a folder that cannot be written only costs time."""
    try:
        with replacing(path) as part:
            pd.concat([probed, _known(path)], ignore_index=True).drop_duplicates("path").to_csv(part, index=False)
        write_atomically(path.with_name(f"{path.name}.digest"), digest_file(path))
    except NotWritten:
        pass
