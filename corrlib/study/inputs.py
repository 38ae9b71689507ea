"""The data and files that a run's parameters name, as digests of what they hold: where they lie does not matter."""

from pathlib import Path
from typing import Any

from corrlib.corpora.content import content_digest
from corrlib.files import digest_folder

# parameters that say where something lies; what lies there is compared instead
PLACES = ("data", "sounds", "weights", "text_weights", "relevance", "graded", "figures", "study", "run")
FILES = ("sounds", "weights", "text_weights", "relevance", "graded")


def of_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """{"data": digest of the corpus, "files": {parameter: digest}}; "" where there is nothing (yet)."""
    data = ""
    if "corpus" in parameters:
        data = content_digest(parameters["corpus"], parameters["data"], not parameters.get("text_only"))
    named = {name: str(parameters.get(name) or "") for name in FILES}
    named = {name: path for name, path in named.items() if path and path != "synthetic"}
    return {"data": data, "files": {name: digest_folder(Path(path)) for name, path in named.items()}}


def other_parameters(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two runs' parameters, in words; places are left out."""
    names = [name for name in dict.fromkeys((*before, *now)) if name not in PLACES]
    return [
        f"{name} was {before.get(name, 'not there')!r}, is {now.get(name, 'not there')!r}"
        for name in names
        if (name in before) != (name in now) or before.get(name) != now.get(name)
    ]
