"""The views without widgets: what a headless run of 13_explore shows."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from corrlib import figures
from corrlib.explore import matrix
from corrlib.explore.session import Session
from corrlib.explore.sound import RATE_HZ, TOP_HZ, waveform_of


def search(session: Session, caption: str, count: int = 5) -> tuple[Figure, pd.DataFrame]:
    """The `count` most similar clips of a caption; table: as `Session.search`, and the clip's name."""
    table, cards = session.search(caption, count), []
    rows: list[Any] = list(table.itertuples())
    for row in rows:
        waveform = waveform_of(session.corpus, row.clip)
        cards.append(
            (
                session.name(row.clip),
                figures.decibels(waveform, RATE_HZ, TOP_HZ),
                len(waveform) / RATE_HZ,
                row.similarity,
                row.estimated,
                session.captions_of(row.clip)[0],
            )
        )
    return figures.ranked_clips(caption, cards), table.assign(name=[session.name(c) for c in table["clip"]])


def heat_map(session: Session, clips: int = 24) -> tuple[Figure, pd.DataFrame]:
    """A block of the matrix: annotated, estimated and, where known, true; table: one row a pair."""
    rows, columns = matrix.block(session, min(clips, session.items.clips))
    kinds = [k for k in ("annotated", "clip", "true") if k != "true" or session.truth is not None]
    shown = {k: matrix.values(session, k)[rows][:, columns].numpy() for k in kinds}
    shown["clip"] = shown["clip"] / shown["clip"].max(0)
    shown = {{"clip": "estimated"}.get(kind, kind): values for kind, values in shown.items()}
    clip, caption = np.meshgrid(rows, columns, indexing="ij")
    table = pd.DataFrame({"clip": clip.ravel(), "caption": caption.ravel(), **{k: v.ravel() for k, v in shown.items()}})
    return figures.correspondence_matrices(shown, [session.items.texts[c] for c in columns.tolist()]), table


def partial_matches(session: Session, count: int = 200, shown: int = 5) -> tuple[Figure, pd.DataFrame]:
    """The `count` pairs on which annotation and estimate disagree most; the first `shown` with their phrases.

    table: as `Session.partial_matches`, and the clip's name.
    """
    table = session.partial_matches(count)
    first: list[Any] = list(table.iloc[:shown].itertuples())
    rows = [
        (
            r.text,
            session.name(r.clip),
            r.disagreement,
            None if np.isnan(r.true) else r.true,
            session.phrases(r.text, r.clip),
        )
        for r in first
    ]
    return figures.partial_matches(rows), table.assign(name=[session.name(c) for c in table["clip"]])
