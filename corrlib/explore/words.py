"""Text of clips, captions and phrases as HTML that holds nothing but what it says (everything is escaped)."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from corrlib.explore.session import Session

MARK = "0, 114, 178"  # the blue of figures, as red, green, blue


def percent(share: float) -> str:
    """A share in [0, 1] as `12.3 %`, a small one with two digits that count."""
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2g} %"


def shortened(text: str, letters: int = 80, end: int = 26) -> str:
    """At most so many letters of a text; of a longer one its `end` is kept, as a file's name tells by it."""
    if len(text) <= letters:
        return text
    return f"{text[: letters - end - 1]}…{text[len(text) - end :]}"


def clip_facts(
    session: Session,
    clip: int,
    similarity: float | None = None,
    estimated: float | None = None,
    place: int | None = None,
) -> str:
    """Name, similarity, estimate and annotated captions of a clip (row number), as HTML."""
    head = (f"{place}. " if place else "") + f"<b>{escape(session.name(clip))}</b>"
    facts = [f"similarity {similarity:.3f}"] if similarity is not None else []
    facts += [f"estimated {percent(estimated)}"] if estimated is not None else []
    captions = "".join(f"<li>{escape(text)}</li>" for text in session.captions_of(clip))
    return (
        f"<div style='overflow-wrap:anywhere;max-width:560px'>{head}{' · ' if facts else ''}{' · '.join(facts)}"
        f"<ul style='margin:2px 0 2px 18px;line-height:1.35'>{captions}</ul></div>"
    )


def caption_table(table: pd.DataFrame) -> str:
    """Captions of one clip, best first; its own are starred. table: as `Session.best_captions`."""
    known = table["true"].notna().any()
    captions: list[Any] = list(table.itertuples())
    rows = "".join(
        f"<tr><td>{'★' if row.own else ''}</td><td style='text-align:left;overflow-wrap:anywhere'>"
        f"{'<b>' if row.own else ''}{escape(row.text)}"
        f"{'</b>' if row.own else ''}</td><td>{row.similarity:.3f}</td><td>{percent(row.estimated)}</td>"
        + (f"<td>{row.true:.2f}</td>" if known else "")
        + "</tr>"
        for row in captions
    )
    head = "<th></th><th style='text-align:left'>caption (★ its own)</th><th>similarity</th><th>estimated</th>"
    return f"<table style='border-spacing:8px 1px'><tr>{head}{'<th>true</th>' if known else ''}</tr>{rows}</table>"


def marked_phrases(phrases: Sequence[tuple[str, float]]) -> str:
    """A caption whose phrases are shaded by how much each counts; below each the drop in similarity."""
    most = max([abs(drop) for _, drop in phrases if np.isfinite(drop)] or [1]) or 1

    def piece(phrase: str, drop: float) -> str:
        shade = max(0.0, drop) / most if np.isfinite(drop) else 0.0
        number = f"{drop:+.3f}" if np.isfinite(drop) else "–"
        return (
            f"<span style='display:inline-block;text-align:center;margin:0 3px;padding:1px 4px;border-radius:3px;"
            f"overflow-wrap:anywhere;background:rgba({MARK},{0.45 * shade:.2f})'>"
            f"{escape(phrase)}<br><small>{number}</small></span>"
        )

    return "<div>" + "".join(piece(*p) for p in phrases) + "</div>"


def claim_list(claims: Iterable[tuple[str, bool]]) -> str:
    """The claims of a caption, each with whether it holds for the clip; empty where the truth is not known."""
    marks = " &nbsp; ".join(f"{'✓' if holds else '✗'} {escape(text)}" for text, holds in claims)
    return f"<div>Claims of the caption, by the truth of this clip: &nbsp; {marks}</div>" if claims else ""
