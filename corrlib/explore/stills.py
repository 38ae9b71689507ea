"""The views without widgets: what a headless run of 13_explore shows."""

import numpy as np
import pandas as pd

from corrlib import figures
from corrlib.explore import matrix
from corrlib.explore.sound import RATE_HZ, TOP_HZ, waveform_of


def search(session, caption, count=5):
    """(figure, table) of a caption's clips."""
    table, cards = session.search(caption, count), []
    for row in table.itertuples():
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


def heat_map(session, clips=24):
    """(figure, table) of a block of the matrix: annotated, estimated and, where known, true."""
    rows, columns = matrix.block(session, min(clips, session.items.clips))
    kinds = [k for k in ("annotated", "clip", "true") if k != "true" or session.truth is not None]
    shown = {k: matrix.values(session, k)[rows][:, columns].numpy() for k in kinds}
    shown = {{"clip": "estimated"}.get(k, k): v / v.max(0) if k == "clip" else v for k, v in shown.items()}
    clip, caption = np.meshgrid(rows, columns, indexing="ij")
    table = pd.DataFrame({"clip": clip.ravel(), "caption": caption.ravel(), **{k: v.ravel() for k, v in shown.items()}})
    return figures.correspondence_matrices(shown, [session.items.texts[c] for c in columns.tolist()]), table


def partial_matches(session, count=200, shown=5):
    """(figure, table) of the pairs on which annotation and estimate disagree most; in the figure with their phrases."""
    table = session.partial_matches(count)
    first = table.iloc[:shown]
    rows = [
        (
            r.text,
            session.name(r.clip),
            r.disagreement,
            None if np.isnan(r.true) else r.true,
            session.phrases(r.text, r.clip),
        )
        for r in first.itertuples()
    ]
    return figures.partial_matches(rows), table.assign(name=[session.name(c) for c in table["clip"]])
