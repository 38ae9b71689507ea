"""The sections of a study file: which parameters each of them takes, and where one belongs that stands elsewhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from corrlib.study.parameters import (
    DataParameters,
    EstimateParameters,
    ParameterError,
    ResultsParameters,
    StageOneParameters,
    StageTwoParameters,
    TrainingParameters,
    nearest,
)

if TYPE_CHECKING:
    from corrlib.study.study_file import StudyFile

SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataParameters,
    "training": TrainingParameters,
    "stage1": StageOneParameters,
    "stage2": StageTwoParameters,
    "estimate": EstimateParameters,
    "results": ResultsParameters,
}
# parameters of runs that a study gives in another way
ELSEWHERE = {
    "study": "it is the name of the study's file",
    "run": "the plan names the runs",
    "seed": "`seeds`, at the top level, lists them",
    "data": "`data_folder`, at the top level, says where the data lie",
    "backbone": "`backbones`, at the top level, lists them",
    "member": "`members`, at the top level, names them",
    "student": "`settings` start from stage 1; `points` may start from another setting",
    "target": "`settings` and `points`, at the top level, say what is learnt from",
    "teachers": "they are the stage-1 runs of `backbones`; `points` may name others",
}
OF_ALL = ("relevance",)  # that the top level gives to every run that takes it
OF_POINTS = {"student", "target", "teachers", "teachers_of"}


def check_sections(study: "StudyFile") -> None:
    """ParameterError names the first parameter that its section does not take, and where it belongs."""
    for place, model, given, also in _sections(study):
        for name in given:
            if name in also:
                continue
            if name in ELSEWHERE and name in model.model_fields:
                raise ParameterError(
                    f"{place} cannot give '{name}': {ELSEWHERE[name]}; remove it here", f"{place}.{name}"
                )
            if name not in model.model_fields:
                raise ParameterError(unknown(name, model, place), f"{place}.{name}")


def where_given(kind: str, run: str, keys: tuple[str, ...]) -> bool:
    """Whether a study's `keys` lead to a parameter that it gives a run of a kind, such as stage2.epochs."""
    if keys[0] in OF_ALL:
        return kind in ("stage1", "stage2", "estimate")
    section, *named, _ = keys if len(keys) > 1 else ("", "")
    if section == "variants" and len(named) == 2:
        section, named = named[1], named[:1]
    shared = ("data", "training") if kind in ("stage1", "stage2") else ()
    of_kind = {
        "stage1": ("stage1", "backbone_stage1", "members"),
        "stage2": ("stage2", "backbone_stage2", "points"),
    }.get(kind, (kind,))
    return section in (*of_kind, *shared) and all(name in run for name in named)


def unknown(name: Any, model: type[BaseModel], place: str) -> str:
    """What to say of a name that is no parameter of `place`, whose are `model`'s: where it belongs, if known."""
    sections = [section for section, kind in SECTIONS.items() if name in kind.model_fields and name not in ELSEWHERE]
    if name in OF_ALL:
        return f"'{name}' is no parameter of {place}; it belongs at the top level, for all runs of the study"
    if not sections:
        return f"{place} has an unknown parameter '{name}'{nearest(name, model.model_fields)}"
    if "training" in sections:
        sections = ["`training` (both stages)", "`stage1`", "`stage2`"]
    *others, last = sections
    return f"'{name}' is no parameter of {place}; it belongs below {', '.join(others)}{' or ' if others else ''}{last}"


def _sections(study: "StudyFile") -> Iterator[tuple[str, type[BaseModel], dict, set[str]]]:
    """(where it stands, the parameters that it may hold, what it holds, what it may give besides)."""
    for name, model in SECTIONS.items():
        yield name, model, getattr(study, name), set()
    for place, model in (("backbone_stage1", StageOneParameters), ("backbone_stage2", StageTwoParameters)):
        for backbone, given in getattr(study, place).items():
            yield f"{place}.{backbone}", model, given, set()
    for member, given in study.members.items():
        yield f"members.{member}", StageOneParameters, given, {"backbone"}
    for point, given in study.points.items():
        yield f"points.{point}", StageTwoParameters, given, OF_POINTS
    for variant, content in study.variants.items():
        for name in ("data", "training", "stage1", "stage2"):
            yield f"variants.{variant}.{name}", SECTIONS[name], getattr(content, name), set()
