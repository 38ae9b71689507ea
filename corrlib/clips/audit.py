"""The audit before training: what is there of what the tables name, and what of it can be used."""
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corrlib.clips import audiocaps, clotho, wavcaps

PROBLEMS = ("missing", "unreadable", "zero-length", "duplicated")
MANY = 5000             # files from which on what was found is kept on disk, for the next time
LONGEST_SECONDS = 48 * 3600.0
RATES_HZ = (1000, 768000)      # as corrlib.audio reads
EXPECTED = {"clotho": clotho.EXPECTED, "audiocaps": audiocaps.EXPECTED,
            "wavcaps": {"development": sum(wavcaps.EXPECTED.values())}}


class AuditError(ValueError):
    """More clips cannot be used than the tolerance allows."""


def audit(corpus, tolerance=0.0, cache=None):
    """(Corpus of the clips that can be used, with their durations; table of the audit, one row a corpus).

    tolerance: the share of a corpus's clips that may be unusable before AuditError is raised. cache: folder for what
    was found of many files (by name, size and time of change), so that the next run need not open them.
    Table: corpus, split, published, listed, found, missing, unreadable, zero-length, duplicated, leaks, hours, rates.
    """
    clips = corpus.clips.copy()
    probed = _probe(clips["path"], cache)
    seconds = probed["seconds"] - clips["start_seconds"]
    clips["duration_seconds"] = np.fmin(clips["duration_seconds"], seconds)
    problem = probed["problem"].mask((probed["problem"] == "") & (seconds <= 0), "zero-length")
    again = clips[["path", "start_seconds"]].duplicated() & (problem == "")
    problem = problem.mask(again, "duplicated")
    excluded = clips.assign(reason=problem)[problem != ""][["clip_id", "path", "reason"]]
    table = _table(corpus, clips, problem, probed)
    _tolerate(clips, excluded, tolerance)
    return type(corpus)(clips, corpus.captions, corpus.metadata, corpus.excluded).without(excluded), table


def _table(corpus, clips, problem, probed):
    rows = []
    leaks = corpus.excluded["clip_id"].str.split("/").str[0].value_counts() if len(corpus.excluded) else {}
    for (name, split), own in clips.groupby(["corpus", "split"], sort=False):
        kinds, usable = problem[own.index].value_counts(), own[problem[own.index] == ""]
        rates = sorted(set(probed["rate_hz"][usable.index].astype(int)))
        rows.append({"corpus": name, "split": split, "published": EXPECTED.get(name, {}).get(split, ""),
                     "listed": len(own), "found": len(usable), **{kind: int(kinds.get(kind, 0)) for kind in PROBLEMS},
                     "leaks": int(leaks.get(name, 0)), "hours": usable["duration_seconds"].sum() / 3600,
                     "rates": ", ".join(map(str, rates))})
    return pd.DataFrame(rows)


def _tolerate(clips, excluded, tolerance):
    """AuditError for the first corpus that lacks too many of its clips."""
    names = clips.set_index("clip_id")["corpus"]
    for name, own in excluded.groupby(names.reindex(excluded["clip_id"]).to_numpy(), sort=False):
        total = int((clips["corpus"] == name).sum())
        if len(own) > tolerance * total:
            first, kinds = own.iloc[0], Counter(own["reason"])
            what = first["path"] or first["clip_id"]
            raise AuditError(f"{len(own)} of {total} clips of {name} cannot be used ("
                             f"{', '.join(f'{n} {kind}' for kind, n in kinds.items())}; first: {what}); restore them, or "
                             f"raise tolerance ({tolerance:g}) to at least {np.ceil(1000 * len(own) / total) / 1000:g}")


def _probe(paths, cache):
    """seconds, rate_hz, problem of each path ("" is missing), from the cache where nothing changed."""
    known, path = {}, None
    if cache is not None and len(paths) > MANY:
        path = Path(cache) / "probed.csv"
        known = _known(path)
    rows = []
    for name in paths:
        try:
            state = os.stat(name) if name else None
        except OSError:
            state = None
        key = (name, state.st_size, state.st_mtime_ns) if state else None
        rows.append((known[key] if key in known else probe(name, state.st_size)) if state else (np.nan, np.nan, "missing"))
        if key and path is not None:
            known[key] = rows[-1]
    if path is not None:
        _remember(path, known)
    return pd.DataFrame(rows, columns=["seconds", "rate_hz", "problem"], index=paths.index)


def probe(path, size):
    """(seconds, rate in Hz, problem) of one audio file, from its header."""
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


def _known(path):
    try:
        table = pd.read_csv(path, dtype={"path": str, "problem": str}, keep_default_na=False,
                            na_values={"seconds": [""], "rate_hz": [""]})
        keys = zip(table["path"], table["size"], table["changed"], strict=True)
        return dict(zip(keys, zip(table["seconds"], table["rate_hz"], table["problem"], strict=True), strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def _remember(path, known):
    """Keep what was found; a folder that cannot be written only costs time."""
    rows = [(*key, *value) for key, value in known.items()]
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows, columns=["path", "size", "changed", "seconds", "rate_hz", "problem"]).to_csv(part, index=False)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
