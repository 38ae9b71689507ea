"""The matrix of clips and captions as a heat map to zoom, hover and click."""

import textwrap

import numpy as np
import plotly.graph_objects as go
import torch

from corrlib.explore.session import Session
from corrlib.explore.words import shortened
from corrlib.figures import content_order

KINDS = {
    "similarity": "similarity of the model",
    "clip": "estimated, of a clip given the caption",
    "caption": "estimated, of a caption given the clip",
    "true": "true correspondence",
    "annotated": "annotated",
}


def values(session: Session, kind: str) -> torch.Tensor:
    """(clips, captions) of one of KINDS as a tensor; ValueError where the truth is not known."""
    if kind == "true" and session.truth is None:
        raise ValueError("the truth of this corpus is not known; choose another matrix")
    return {
        "similarity": lambda: session.similarity,
        "clip": lambda: session.clip_given_caption,
        "caption": lambda: session.caption_given_clip,
        "true": lambda: torch.as_tensor(session.truth),
        "annotated": lambda: session.items.annotated(
            torch.arange(session.items.clips), torch.arange(session.items.captions)
        ).float(),
    }[kind]()


def block(session: Session, clips: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers (N,) of some clips and of one caption of each: drawn by seed, ordered by clustering the ensemble's
    similarity.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(session.items.clips, generator=generator)[:clips]
    columns = torch.stack([(session.items.clip_of_caption == r).nonzero()[0, 0] for r in rows])
    order = content_order(session.ensemble[rows][:, columns].T.numpy()).copy()
    return rows[order], columns[order]


# from nothing to much on white paper, and on a dark page; labels and lines
LOOKS = {
    False: ("Blues", "#24292f", "#d0d7de"),
    True: ([[0, "#1a2129"], [1 / 3, "#1f4f7a"], [2 / 3, "#4d9bd3"], [1, "#dff0ff"]], "#e4e8ec", "#404a54"),
}


def heat_map(
    session: Session,
    rows: torch.Tensor,
    columns: torch.Tensor,
    kind: str = "clip",
    dark: bool = False,
    width: int | None = None,
) -> go.FigureWidget:
    """A plotly FigureWidget: captions as rows to be read, clips as columns; hover names both. Annotated pairs are
    ringed. rows, columns: row numbers of clips and of captions, as `block` gives them; kind: of KINDS; dark: for a
    dark page; width: in pixels.

    The colours end at the 98th percentile, so that a few near certain pairs do not hide all others.
    """
    shown = values(session, kind)[rows][:, columns].T.numpy()
    names = [_plain(shortened(session.name(r))) for r in rows.tolist()]
    texts = [session.items.texts[c] for c in columns.tolist()]
    lines = [_in_lines(text) for text in texts]
    hover = [[f"{text}<br>clip {name}" for name in names] for text in lines]
    low, high = min(0.0, float(shown.min())), float(np.quantile(shown, 0.98)) or 1.0
    colours, ink, line = LOOKS[dark]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            zmin=low,
            zmax=high,
            colorscale=colours,
            text=hover,
            colorbar={
                "title": {"text": KINDS[kind], "side": "top"},
                "orientation": "h",
                "y": 0,
                "yanchor": "top",
                "ypad": 34,
                "thickness": 12,
                "tickvals": [low, (low + high) / 2, low + 0.999 * (high - low)],  # at the very end it shows none
                "ticktext": [f"{low:.3g}", f"{(low + high) / 2:.3g}", f"≥ {high:.3g}"],
            },
            hovertemplate=f"%{{text}}<br>{KINDS[kind]}: %{{z:.4f}}<extra></extra>",
        )
    )
    own = (session.items.clip_of_caption[columns][:, None] == rows[None, :]).nonzero()
    figure.add_scatter(
        x=own[:, 1].tolist(),
        y=own[:, 0].tolist(),
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={"symbol": "circle-open", "size": 8, "color": "#D55E00" if not dark else "#ff8c3f"},
    )
    figure.update_layout(
        height=220 + 18 * len(columns),
        width=width,
        margin={"l": 10, "r": 10, "t": 40, "b": 120},  # the tool bar stands above the rows
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": ink},
        dragmode="zoom",
        font={"color": ink, "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(
        title={"text": "clips", "standoff": 4},
        showticklabels=False,
        range=[-0.5, len(rows) - 0.5],
        gridcolor=line,
        zeroline=False,
    )
    figure.update_yaxes(
        range=[len(columns) - 0.5, -0.5],
        tickvals=list(range(len(texts))),
        ticktext=[_plain(shortened(text, 48, 0)) for text in texts],
        tickfont={"size": 12},
        gridcolor=line,
        zeroline=False,
    )
    return go.FigureWidget(figure)


def _plain(text: str) -> str:
    """Without what plotly would take for markup, for a formula or for a template."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
    return text.replace("$", "&#36;")  # it looks for formulas first, and reads entities after


def _in_lines(text: str, letters: int = 70) -> str:
    """A text in lines for a box that hovers."""
    return "<br>".join(_plain(line) for line in textwrap.wrap(shortened(text, 600), letters) or [""])
