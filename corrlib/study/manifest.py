"""What a finished run says of itself: manifest.json, checked whenever it is read."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corrlib.files import digest

# what a run writes beside its result: its log and pictures, which nobody computes with, and which hold times
BESIDE = ("notebook.ipynb", "progress.log", "log.csv", "begun.json", "manifest.json")
EVENTS = (
    "events.out.tfevents.*"  # of a run that is tracked: no artefacts either, as they hold times and a machine's name
)
USERS = ("verdicts.csv",)  # what a person wrote into a run's folder: never removed, and no artefact
PICTURES = (".png", ".svg", ".pdf")


class MadeOf(BaseModel):
    """Everything that decides a run's result, beside its parameters.

    code, training: see corrlib.study.code.fingerprints. data: digest of the corpus that the run read, "" if none.
    files: {parameter: digest} of other files that its parameters name. parents: {run: digest of its result} of the runs
    that it read; those of another study are named `study/run`. parents_data: {run: digest of its data}, as what reads a
    run may look at its data, too; none in older manifests. listed: the finished runs of the study when it listed
    them, for one that works on all that there are.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    code: str
    training: str
    data: str
    files: dict[str, str]
    parents: dict[str, str]
    parents_data: dict[str, str] = {}
    listed: list[str] | None = None


class Manifest(BaseModel):
    """The fields that every finished run has; a training run also has `setting`, `backbone` and `data_fingerprint`."""

    model_config = ConfigDict(extra="allow", strict=True)
    study: str
    run: str
    notebook: str
    parameters: dict[str, Any]
    code: dict[str, Any]
    made_of: MadeOf
    artefacts: dict[str, str] = Field(description="digest of every file that the run wrote")
    figures: dict[str, str] = Field({}, description="digest of every file that the run wrote into the study's figures")
    packages: dict[str, str]
    python: str
    hardware: dict[str, Any]
    wall_seconds: float
    peak_memory_bytes: int
    finished: str = Field("", description="date and time (UTC) at which it was, empty in older manifests")
    repeat: str
    setting: str = ""
    backbone: str = ""
    data_fingerprint: str = ""
    digest: str = Field(description="digest of all the rest of the manifest")


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a manifest with its digest."""
    kept = json.loads(json.dumps({name: value for name, value in content.items() if name != "digest"}, default=float))
    return {**kept, "digest": digest(kept)}


def read(path: Path) -> dict[str, Any]:
    """The content of a manifest.json; ValueError names the file, what is wrong with it, and the mend."""
    mend = f"remove {path.parent} and run the study again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{path} is damaged; {mend}") from None
    try:
        Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"{path} is no manifest of this program ({where}: {first['msg']}); {mend}") from None
    if sealed(content)["digest"] != content["digest"]:
        raise ValueError(f"{path} is damaged (its digest is not that of its content); {mend}")
    if (content["study"], content["run"]) != (path.parent.parent.name, path.parent.name):
        raise ValueError(f"{path} is of run '{content['run']}' of study '{content['study']}'; {mend}")
    return content


def result(artefacts: dict[str, str]) -> str:
    """Digest of what other runs may read of a run: the same whenever the same is computed again."""
    kept = {name: found for name, found in artefacts.items() if name not in BESIDE and not name.endswith(PICTURES)}
    return digest(kept)
