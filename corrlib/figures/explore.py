"""Still pictures of what 13_explore shows: ranked clips, partial matches."""

import textwrap

import matplotlib.pyplot as plt

from corrlib.figures.style import say, use_style


def ranked_clips(caption, cards):
    """Spectrograms of a caption's clips, best first. cards: list of (name, decibels (F, T), seconds, similarity,
    estimated, one of the clip's captions)."""
    use_style()
    figure, axes = plt.subplots(
        1, len(cards), figsize=(1.9 * len(cards), 3.0), layout="constrained", squeeze=False, sharey=True
    )
    for place, (axis, (name, shown, seconds, similarity, estimated, text)) in enumerate(
        zip(axes[0], cards, strict=True), 1
    ):
        axis.imshow(shown, origin="lower", aspect="auto", cmap="magma", vmin=-70, vmax=0, extent=(0, seconds, 0, 8))
        axis.set_title(
            f"{place}. {textwrap.shorten(name, 26, placeholder='…')}\nsimilarity {similarity:.2f}, "
            f"estimated {100 * estimated:.1f} %",
            fontsize=7,
        )
        axis.set_xlabel("time (s)\n" + "\n".join(textwrap.wrap(text, 30)[:4]), fontsize=7)
        axis.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("frequency (kHz)")
    say(figure, f"“{caption}”: the most similar clips", "Below each clip one of its own captions.")
    return figure


def partial_matches(rows):
    """Captions with the phrases' drops in similarity for a clip that is not annotated. rows: list of (caption, clip,
    disagreement, truth or None, [(phrase, drop)])."""
    use_style()
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(7.2, 0.9 + 1.05 * len(rows)), layout="constrained", squeeze=False, sharex=True
    )
    for axis, (caption, clip, disagreement, truth, phrases) in zip(axes[:, 0], rows, strict=True):
        drops = [drop for _, drop in phrases]
        axis.barh(range(len(phrases)), drops, color=["#0072B2" if d >= 0 else "#D55E00" for d in drops], height=0.6)
        axis.set_yticks(range(len(phrases)), [textwrap.shorten(p, 34, placeholder="…") for p, _ in phrases], fontsize=7)
        axis.invert_yaxis()
        axis.axvline(0, color="0.5", lw=0.8)
        known = "" if truth is None else f", true correspondence {truth:.2f}"
        axis.set_title(
            textwrap.shorten(f"“{caption}”", 98, placeholder="…") + f"\n{clip}: {100 * disagreement:+.1f} points "
            f"more probable than its own clip{known}",
            fontsize=7.5,
            loc="left",
        )
        axis.tick_params(axis="x", labelsize=7)
    axes[-1, 0].set_xlabel("drop in similarity when the phrase is left out")
    say(figure, "Pairs that nobody annotated and the ensemble holds to match", "Greatest disagreement first; one seed.")
    return figure
