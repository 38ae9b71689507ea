"""Captions and file names in figures: cut to the room that there is."""

from corrlib.figures.style import text_inches, wrap


def shorten(text: str, inches: float, size: float = 9) -> str:
    """The text on one line of at most `inches` at `size` points; what is cut off is told by `…`."""
    text = " ".join(str(text).split())
    if text_inches(text or " ", size) <= inches:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        fits = text_inches(text[:middle].rstrip() + "…", size) <= inches
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…"


def first_lines(text: str, inches: float, count: int, size: float = 9) -> str:
    """The text on at most `count` lines, each of at most `inches`; what is cut off is told by `…`."""
    lines = wrap(" ".join(str(text).split()), inches, size).split("\n")
    if len(lines) <= count:
        return "\n".join(lines)
    return "\n".join([*lines[: count - 1], shorten(" ".join(lines[count - 1 :]), inches, size)])
