"""Where text stands in a drawn figure: `misplaced` finds what overlaps or is cut off."""

import warnings

from matplotlib.figure import Figure


def texts_of(figure: Figure) -> list:
    """(Text, its axes or None) of everything that is written in a figure and can be seen."""
    found = [(t, None) for t in figure.texts]  # the figure's own title and labels among them
    found += [(t, None) for legend in figure.legends for t in legend.get_texts()]
    for axis in figure.axes:
        own = [axis.title, axis._left_title, axis._right_title, axis.xaxis.label, axis.yaxis.label, *axis.texts]
        own += axis.get_legend().get_texts() if axis.get_legend() else []
        for scale, (low, high) in ((axis.xaxis, sorted(axis.get_xlim())), (axis.yaxis, sorted(axis.get_ylim()))):
            if scale.get_visible():
                ticks = [tick for tick in scale.get_major_ticks() if low - 1e-9 <= tick.get_loc() <= high + 1e-9]
                own += [label for tick in ticks for label in (tick.label1, tick.label2)]
        found += [(t, axis) for t in own]
    return [(t, axis) for t, axis in found if t.get_visible() and t.get_text().strip()]


def misplaced(figure: Figure, slack: float = 1.0) -> list[str]:
    """What overlaps another text or other panels by more than `slack` pixels, or leaves the figure, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that there was no room to lay panels out
        figure.canvas.draw()
    boxes = [(t.get_text(), axis, t.get_window_extent()) for t, axis in texts_of(figure)]
    said = []
    for place, (text, axis, box) in enumerate(boxes):
        if box.x0 < -slack or box.y0 < -slack or box.x1 > figure.bbox.x1 + slack or box.y1 > figure.bbox.y1 + slack:
            said.append(f"{text!r} leaves the figure")
        said += [f"{text!r} meets {other!r}" for other, _, second in boxes[place + 1 :] if _meet(box, second, slack)]
        panels = [panel for panel in figure.axes if panel is not axis]
        said += [f"{text!r} meets another panel" for panel in panels if _meet(box, panel.bbox, slack)]
    return said


def _meet(one, two, slack):
    wide = min(one.x1, two.x1) - max(one.x0, two.x0)
    high = min(one.y1, two.y1) - max(one.y0, two.y0)
    return wide > slack and high > slack
