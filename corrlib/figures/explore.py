"""Still pictures of what 13_explore shows: ranked clips, partial matches."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from corrlib.figures.captions import first_lines, shorten
from corrlib.figures.style import say, use_style

Card = tuple[str, np.ndarray, float, float, float, str]
Match = tuple[str, str, float, float | None, list[tuple[str, float]]]


def ranked_clips(caption: str, cards: Sequence[Card]) -> Figure:
    """Spectrograms of a caption's clips, best first.

    cards: list of (name, decibels (F, T) from 0 to 8 kHz, seconds, similarity, estimated p(clip | caption), one of the
    clip's captions).
    """
    shown = [(*card[:3], f"similarity {card[3]:.2f}\nestimated {100 * card[4]:.1f} %", card[5]) for card in cards]
    figure = _spectrograms(shown)
    say(figure, f"“{caption}”: the most similar clips", "Below each clip one of its own captions.")
    return figure


def ranked_sounds(asked: str, cards: Sequence[tuple[str, np.ndarray, float, float]], how: str) -> Figure:
    """Spectrograms of the sounds of a folder, best first.

    asked: what was searched for, in words; cards: list of (name, decibels (F, T) from 0 to 8 kHz, seconds,
    similarity); how: the line below.
    """
    figure = _spectrograms([(*card[:3], f"similarity {card[3]:.2f}", "") for card in cards])
    say(figure, f"{asked}: the most similar sounds", how)
    return figure


def _spectrograms(cards: Sequence[tuple[str, np.ndarray, float, str, str]]) -> Figure:
    """cards: list of (name, decibels, seconds, numbers, text below)."""
    use_style()
    figure, axes = plt.subplots(
        1, len(cards), figsize=(max(4.5, 2.0 * len(cards)), 3.2), layout="constrained", squeeze=False, sharey=True
    )
    for place, (axis, card) in enumerate(zip(axes[0], cards, strict=True), 1):
        name, shown, seconds, numbers, text = card
        axis.imshow(shown, origin="lower", aspect="auto", cmap="magma", vmin=-70, vmax=0, extent=(0, seconds, 0, 8))
        axis.set_title(f"{shorten(f'{place}. {name}', 1.6, 7)}\n{numbers}", fontsize=7)
        axis.set_xlabel(f"time (s)\n{first_lines(text, 1.6, 4, 7)}" if text else "time (s)", fontsize=7)
        axis.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("frequency (kHz)")
    return figure


def partial_matches(rows: Sequence[Match]) -> Figure:
    """Captions with the drop in similarity of each of their phrases, for a clip that is not annotated.

    rows: list of (caption, clip, disagreement in [-1, 1], truth or None, [(phrase, drop)]).
    """
    use_style()
    phrases_drawn = sum(len(phrases) for *_, phrases in rows)
    figure, axes = plt.subplots(
        len(rows),
        1,
        figsize=(7.2, 0.9 + 0.75 * len(rows) + 0.15 * phrases_drawn),
        layout="constrained",
        squeeze=False,
        sharex=True,
        height_ratios=[1 + len(phrases) for *_, phrases in rows],
    )
    for axis, (caption, clip, disagreement, truth, phrases) in zip(axes[:, 0], rows, strict=True):
        drops = [drop for _, drop in phrases]
        axis.barh(range(len(phrases)), drops, color=["#0072B2" if d >= 0 else "#D55E00" for d in drops], height=0.6)
        axis.set_yticks(range(len(phrases)), [shorten(phrase, 1.8, 7) for phrase, _ in phrases], fontsize=7)
        axis.invert_yaxis()
        axis.axvline(0, color="0.5", lw=0.8)
        known = "" if truth is None else f", true correspondence {truth:.2f}"
        facts = f"{shorten(clip, 2, 7.5)}: {100 * disagreement:+.1f} points more probable than its own clip{known}"
        title = f"{first_lines(f'“{caption}”', 4.9, 2, 7.5)}\n{first_lines(facts, 4.9, 2, 7.5)}"
        axis.set_title(title, fontsize=7.5, loc="left")
        axis.tick_params(axis="x", labelsize=7)
    axes[-1, 0].set_xlabel("drop in similarity when the phrase is left out")
    above = sum(disagreement > 0 for _, _, disagreement, _, _ in rows)
    say(
        figure,
        f"For {above} of these {len(rows)} captions a clip that nobody annotated is held more probable than their own",
        "Greatest disagreement of annotation and estimate first; one seed.",
    )
    return figure
