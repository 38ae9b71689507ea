"""What is drawn in a figure: its texts with the room that they take, and which of them overlap or leave the figure."""

import itertools
import math

from matplotlib.text import Text


def boxes(figure):
    """[(text, bounding box in pixels, degrees)] of all text that is seen."""
    figure.canvas.draw()
    renderer, left_out = figure.canvas.get_renderer(), _undrawn(figure)
    return [
        (text, text.get_window_extent(renderer), text.get_rotation() % 180)
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in left_out
    ]


def _undrawn(figure):
    """Labels of ticks that lie outside of their axis' limits, or that were left over when there were more."""
    labels = set()
    for axis in figure.axes:
        for scale in (axis.xaxis, axis.yaxis):
            low, high = sorted(scale.get_view_interval())
            for ticks, places in (
                (scale.majorTicks, scale.get_majorticklocs()),
                (scale.minorTicks, scale.get_minorticklocs()),
            ):
                for number, tick in enumerate(ticks):
                    if number >= len(places) or not low - 1e-9 <= places[number] <= high + 1e-9:
                        labels |= {tick.label1, tick.label2}
    return labels


def overlaps(figure, slack=1.0):
    """Pairs of texts that cover each other by more than `slack` pixels each way, as [(one, other)]."""
    pairs = []
    for (one, a, turned), (other, b, also) in itertools.combinations(boxes(figure), 2):
        if turned % 90 and also % 90:  # parallel turned labels: as far apart, across, as they are high
            apart = abs(a.x1 - b.x1) * math.sin(math.radians(turned))
            if apart < one.get_fontsize() * figure.dpi / 72 * 0.9 and a.overlaps(b):
                pairs.append((one.get_text(), other.get_text()))
            continue
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if width > slack and height > slack:
            pairs.append((one.get_text(), other.get_text()))
    return pairs


def outside(figure, slack=2.0):
    """Texts that leave the figure."""
    width, height = figure.get_size_inches() * figure.dpi
    return [
        text.get_text()
        for text, box, _ in boxes(figure)
        if box.x0 < -slack or box.y0 < -slack or box.x1 > width + slack or box.y1 > height + slack
    ]


def over_panels(figure, slack=2.0):
    """Texts of legends and captions that lie on a panel's data."""
    own = [text for legend in figure.legends for text in legend.texts]
    own += [text for text in figure.texts]
    return [
        text.get_text()
        for text, box, _ in boxes(figure)
        if text in own
        for axis in figure.axes
        if min(box.x1, axis.bbox.x1) - max(box.x0, axis.bbox.x0) > slack
        and min(box.y1, axis.bbox.y1) - max(box.y0, axis.bbox.y0) > slack
    ]


def clashes(figure):
    """All that is wrong with the room that text takes; empty where nothing is."""
    return overlaps(figure) + outside(figure) + over_panels(figure)
