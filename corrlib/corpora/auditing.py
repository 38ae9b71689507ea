"""The audit before training: what is there of what the tables name, and what of it can be used."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.audiofiles.probe import probe, probe_all, probe_whole
from corrlib.corpora import audiocaps, clotho, wavcaps
from corrlib.corpora.corpus import COPY, Corpus
from corrlib.corpora.exclusions import EXCLUDED
from corrlib.files import memory_of

PROBLEMS = ("missing", "unreadable", "cut short", "zero-length", "duplicated")
EXPECTED: dict[str, Mapping[str, int]] = {  # published number of clips
    "clotho": clotho.EXPECTED,
    "audiocaps": audiocaps.EXPECTED,
    "wavcaps": {"development": sum(wavcaps.EXPECTED.values())},
}


class AuditError(ValueError):
    """More clips cannot be used than the tolerance allows."""


def lengths_of(folder: str | Path) -> Path:
    """Where is kept what decodes of the files below `folder`: in the data folder (CORRLIB_DATA), as that may be
    written to.
    """
    return memory_of(folder, "lengths")


def audit(corpus: Corpus, tolerance: float = 0.0, memory: str | Path | None = None) -> tuple[Corpus, pd.DataFrame]:
    """(Corpus of the clips that can be used, with their durations; table of the audit, one row a corpus).

    tolerance: the share of a corpus's clips that may be unusable before AuditError is raised. memory: a CSV for what
    was found of many files (see `corrlib.audiofiles.probe.probe_all`), so that the next run need not open them.
    Table: corpus, split, published, listed, found, missing, unreadable, cut short, zero-length, duplicated, leaks,
    excluded, hours, rates. A duration is what decodes, not what a header says: of training clips the end is decoded, of
    those by which models are chosen and judged everything.
    """
    clips = corpus.clips.copy()
    look = probe if set(clips["split"]) <= {"development", "pretraining"} else probe_whole
    if memory is not None and look is probe_whole:
        memory = Path(memory).with_suffix(".whole.csv")
    probed = probe_all(clips["path"].tolist(), memory, look).set_axis(clips.index)
    usable = probed["problem"] == ""
    seconds = (probed["frames"] / probed["rate_hz"]).where(usable) - clips["start_seconds"]
    clips["duration_seconds"] = np.fmin(clips["duration_seconds"], seconds)
    reason = probed["problem"].mask(usable & (seconds <= 0), "zero-length")
    again = clips[["path", "start_seconds"]].duplicated() & (reason == "")
    reason = reason.mask(again, "duplicated")
    excluded = clips.assign(reason=reason)[reason != ""][["clip_id", "path", "reason"]]
    summary = _summary(corpus, clips, reason.str.split(":").str[0], probed)
    tolerate(clips, excluded, corpus.excluded, tolerance)
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


def tolerate(clips: pd.DataFrame, excluded: pd.DataFrame, before: pd.DataFrame, tolerance: float) -> None:
    """AuditError for the first corpus that lacks too many of its clips.

    clips: all that are listed; excluded: clip_id, path, reason of those that cannot be used. before: what was left out
    when the corpus was listed, of which copies of held-out sounds count here.
    """
    copies = before[before["reason"].str.startswith(COPY)] if len(before) else before
    lost = pd.concat([excluded, copies], ignore_index=True)
    names = lost["clip_id"].str.split("/").str[0]
    for name, part in lost.groupby(names, sort=False):
        total = int((clips["corpus"] == name).sum()) + int((names[len(excluded) :] == name).sum())
        if len(part) > tolerance * total:
            first, copied = part.iloc[0], part["reason"].str.startswith(COPY)
            kinds = Counter(part["reason"].str.split(":").str[0].where(~copied, "also in another split"))
            what, more = first["path"] or first["clip_id"], str(first["reason"]).partition(": ")[2]
            if copied.iloc[0]:
                what = f"{what} is {first['reason']}"
            elif more:
                what = f"{what}, {more}"
            raise AuditError(
                f"{len(part)} of {total} clips of {name} cannot be used ("
                f"{', '.join(f'{n} {kind}' for kind, n in kinds.items())}; first: {what}); restore them, or "
                f"raise tolerance ({tolerance:g}) to at least {np.ceil(1000 * len(part) / total) / 1000:g}"
            )
