"""What a saved figure draws of its data, read from the SVG that stands beside its PNG."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

SVG = "{http://www.w3.org/2000/svg}"


def drawn(path):
    """[Counter {colour: marks}] of a figure's axes: markers, vertices of lines and bars, and images as "image".

    Ticks, frames, text, legends and what is drawn in greys (lines of reference) do not count: blank axes count nothing.
    """
    found = []
    for group in ElementTree.parse(path).getroot().iter(f"{SVG}g"):
        if re.fullmatch(r"axes_\d+", group.get("id", "")):
            found.append(Counter())
            for part in group:
                if not re.match("matplotlib.axis|legend|text", part.get("id", "")):
                    found[-1] += _marks(part)
    return found


def _marks(part):
    marks = Counter(image=sum(1 for _ in part.iter(f"{SVG}image")))
    if any(element.get("clip-path") for element in part.iter()):  # to the axes, as all data are
        for element in part.iter():
            kind = element.tag.removeprefix(SVG)
            if kind == "use" or (kind == "path" and element.get("clip-path")):
                marks[_colour(element)] += 1 if kind == "use" else len(re.findall("[MLC]", element.get("d", "")))
    del marks[""]
    return +marks


def _colour(element):
    """The fill or else the line of an element, or "" where both are grey or none."""
    for name in ("fill", "stroke"):
        match = re.search(rf"(?:^|[ ;]){name}: *#([0-9a-f]{{6}})", element.get("style", ""))
        if match:
            channels = [int(match.group(1)[at : at + 2], 16) for at in (0, 2, 4)]
            if max(channels) - min(channels) > 16:
                return f"#{match.group(1)}"
    return ""
