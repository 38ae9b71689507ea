"""What a study is judged by beside annotation: the parameter `relevance`, a place or several of them by name."""

import re
from typing import Any

from corrlib.corpora.tables import shown

NAME = r"[a-z0-9][a-z0-9._-]*"
# what stands before a measure where every run is judged, which a relevance may not call itself
TAKEN = ("annotated", "true", "clip-to-caption")


def checked(value: Any) -> Any:
    """A place (a CSV or a folder), or {name: place}; ValueError, one sentence, says what else it is."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ValueError("name a CSV or a folder, or several as `{dcase: file.csv, graded: folder}`")
    for name, place in value.items():
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in TAKEN:
            raise ValueError(
                f"'{shown(str(name))}' cannot name a relevance; choose lower-case letters, digits, dots, hyphens and "
                f"underscores, and none of {', '.join(TAKEN)}"
            )
        if not isinstance(place, str) or not place:
            raise ValueError(f"'{name}' must name a CSV or a folder, not {place!r}")
    return value


def places(value: str | dict[str, str]) -> dict[str, str]:
    """{name: place}; the name of a single place is empty: its kind is what it is called by."""
    named = {"": value} if isinstance(value, str) else value
    return {name: place for name, place in named.items() if place}


def files(value: str | dict[str, str]) -> dict[str, str]:
    """{`relevance` or `relevance.<name>`: place}, as a run's manifest says what it is made of."""
    return {f"relevance.{name}" if name else "relevance": place for name, place in places(value).items()}
