"""The audit before training: what is there of what the tables name, and what of it can be used."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corrlib.corpora import audiocaps, clotho, wavcaps

PROBLEMS = ("missing", "unreadable", "zero-length", "duplicated")
MANY = 500  # files from which on what was found is kept on disk, for the next time
KEY = ["path", "size", "changed"]
LONGEST_SECONDS = 48 * 3600.0
RATES_HZ = (1000, 768000)  # as corrlib.corpora.audio reads
EXPECTED = {
    "clotho": clotho.EXPECTED,
    "audiocaps": audiocaps.EXPECTED,
    "wavcaps": {"development": sum(wavcaps.EXPECTED.values())},
}


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
        rows.append(
            {
                "corpus": name,
                "split": split,
                "published": EXPECTED.get(name, {}).get(split, ""),
                "listed": len(own),
                "found": len(usable),
                **{kind: int(kinds.get(kind, 0)) for kind in PROBLEMS},
                "leaks": int(leaks.get(name, 0)),
                "hours": usable["duration_seconds"].sum() / 3600,
                "rates": ", ".join(map(str, rates)),
            }
        )
    return pd.DataFrame(rows)


def _tolerate(clips, excluded, tolerance):
    """AuditError for the first corpus that lacks too many of its clips."""
    names = clips.set_index("clip_id")["corpus"]
    for name, own in excluded.groupby(names.reindex(excluded["clip_id"]).to_numpy(), sort=False):
        total = int((clips["corpus"] == name).sum())
        if len(own) > tolerance * total:
            first, kinds = own.iloc[0], Counter(own["reason"])
            what = first["path"] or first["clip_id"]
            raise AuditError(
                f"{len(own)} of {total} clips of {name} cannot be used ("
                f"{', '.join(f'{n} {kind}' for kind, n in kinds.items())}; first: {what}); restore them, or "
                f"raise tolerance ({tolerance:g}) to at least {np.ceil(1000 * len(own) / total) / 1000:g}"
            )


def _probe(paths, cache):
    """seconds, rate_hz, problem of each path ("" is missing), from the cache where nothing changed."""
    states = np.array([_state(name) for name in paths.tolist()], np.int64).reshape(-1, 2)
    table = pd.DataFrame({"path": paths, "size": states[:, 0], "changed": states[:, 1]})
    found = pd.DataFrame({"seconds": np.nan, "rate_hz": np.nan, "problem": "missing"}, index=paths.index)
    there, path = table["size"] >= 0, None
    if cache is not None and len(paths) > MANY:
        path = Path(cache) / "probed.csv"
        known = table.merge(_known(path), how="left", on=KEY).set_axis(paths.index)
        same = known["problem"].notna() & there
        found.loc[same] = known.loc[same, list(found.columns)]
        there &= ~same
    fresh = [probe(name, size) for name, size in zip(table["path"][there], table["size"][there], strict=True)]
    found.loc[there] = pd.DataFrame(fresh, columns=found.columns, index=paths.index[there])
    if path is not None and fresh:
        _remember(path, pd.concat([table, found], axis=1)[table["size"] >= 0])
    return found


def _state(name):
    """(size, time of change in ns) of a file, -1 where there is none."""
    try:
        state = os.stat(name)
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


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
    """What was found before: path, size, changed, seconds, rate_hz, problem; without rows where there is nothing."""
    kinds = {"path": str, "size": np.int64, "changed": np.int64, "seconds": float, "rate_hz": float, "problem": str}
    try:
        table = pd.concat(
            pd.read_csv(
                path,
                dtype=kinds,
                keep_default_na=False,
                chunksize=20000,  # in less memory
                na_values={"seconds": [""], "rate_hz": [""]},
            ),
            ignore_index=True,
        )
        return table[list(kinds)].drop_duplicates(KEY)
    except (OSError, ValueError, KeyError):
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _remember(path, found):
    """Keep what was found, beside what is known of other files; a folder that cannot be written only costs time."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.concat([found, _known(path)], ignore_index=True).drop_duplicates("path").to_csv(part, index=False)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
