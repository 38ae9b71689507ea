"""The data and files that a run's parameters name, as digests of what they hold: where they lie does not matter."""

from pathlib import Path
from typing import Any

from corrlib.corpora.content import content_digest
from corrlib.files import digest_folder
from corrlib.study import outside, relevances
from corrlib.study.backbones import HUB

# parameters that say where something lies; what lies there is compared instead
PLACES = ("data", "sounds", "weights", "text_weights", "relevance", "graded", "exclude", "figures", "study", "run")
ASIDE = ("track",)  # and what is written beside a run, from which nothing is computed
CACHE = "cache_log_mel"
FILES = ("sounds", "weights", "text_weights", "graded", "exclude")


def of_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """{"data": digest of the corpus, "files": {parameter: digest}}; "" where there is nothing (yet)."""
    corpus, files = places(parameters)
    data = content_digest(*corpus) if corpus else ""
    return {"data": data, "files": {name: digest_folder(Path(path)) for name, path in files.items()}}


def places(parameters: dict[str, Any]) -> tuple[tuple[str, str, bool] | None, dict[str, str]]:
    """(name, folder, whether its audio counts) of the corpus, or None; {parameter: path} of the other files.

    A teacher from outside is named by itself.
    """
    corpus = None
    if "corpus" in parameters:
        corpus = parameters["corpus"], parameters["data"], not parameters.get("text_only")
    named = {name: str(parameters.get(name) or "") for name in FILES} | outside.files(parameters.get("teachers"))
    named |= relevances.files(parameters.get("relevance") or "")
    of_hub = str(parameters.get("backbone", "")).removeprefix(HUB)
    if of_hub != parameters.get("backbone", "") and Path(of_hub).is_dir():
        named["backbone"] = of_hub
    return corpus, {name: path for name, path in named.items() if path and path != "synthetic"}


def other_parameters(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two runs' parameters, in words; places are left out, and what changes nothing."""
    names = [name for name in dict.fromkeys((*before, *now)) if name not in (*PLACES, *ASIDE)]
    if before.get(CACHE) is True and now.get(CACHE) == "auto":  # what has kept its log-mels could, and `auto` does
        names.remove(CACHE)
    return [
        f"{name} was {before.get(name, 'not there')!r}, is {now.get(name, 'not there')!r}"
        for name in names
        if (name in before) != (name in now) or before.get(name) != now.get(name)
    ]
