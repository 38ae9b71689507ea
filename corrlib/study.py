"""A study: one small YAML that becomes a graph of runs, each one notebook with its parameters."""
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from corrlib import runs
from corrlib.parameters import KINDS, ParameterError, check, nearest

NOTEBOOKS = {"data": "01_data", "estimate": "05_correspondences", "stage2": "06_stage2", "tasks": "11_other_tasks",
             "results": "12_results"}
STAGE1_NOTEBOOKS = {"passt": "02_stage1_passt", "atst": "03_stage1_atst", "mn": "04_stage1_mn"}
SETTINGS = {"continued": "annotated", "self": "self", "ensemble": "ensemble"}


@dataclass(frozen=True)
class Plan:
    """One run to be: its name, notebook, parameters (checked) and the runs it needs."""

    name: str
    kind: str
    notebook: str
    parameters: dict
    needs: tuple


class StudyFile(BaseModel):
    """What a study's YAML may hold. The sections are parameters of the notebooks of that kind.

    points: stage-2 runs beside the settings, {name: parameters}, where `teachers` names backbones; they are run for
    `point_backbones` (all, if not given). ablations: {notebook: the points and settings that it compares}.
    other_tasks: whether 11_other_tasks judges the runs, too.
    """

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: list[int]
    backbones: list[str]
    settings: list[str] = ["continued", "self", "ensemble"]
    data_folder: str = "{data}/{study}/seed-{seed}"
    figures: str = "figures/{study}"
    data: dict = {}
    stage1: dict = {}
    stage2: dict = {}
    estimate: dict = {}
    results: dict = {}
    backbone_stage1: dict[str, dict] = {}
    backbone_stage2: dict[str, dict] = {}
    points: dict[str, dict] = {}
    point_backbones: list[str] = []
    ablations: dict[str, list[str]] = {}
    other_tasks: bool = False


def load_study(name, folder="studies"):
    """The study `studies/<name>.yaml` as a checked StudyFile; ParameterError names what is wrong and where."""
    path = Path(folder) / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in Path(folder).glob("*.yaml"))
        raise ParameterError(f"there is no study file {path}{nearest(name, known)}")
    try:
        content = yaml.safe_load(_expand(path.read_text(encoding="utf-8"), path))
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not valid YAML: {str(error).splitlines()[0]}; mend that line") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{path} must hold `key: value` lines, as studies/smoke.yaml does")
    try:
        study = check(StudyFile, content)
        for setting in study.settings:
            if setting not in SETTINGS:
                raise ParameterError(f"unknown setting '{setting}'{nearest(setting, SETTINGS)}")
        for backbone in study.backbones:
            family(backbone)
        for backbone in {**study.backbone_stage1, **study.backbone_stage2}:
            if backbone not in study.backbones:
                raise ParameterError(f"'{backbone}' has its own parameters but is not one of `backbones`")
        _check_points(study)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    return study


def _check_points(study):
    for backbone in study.point_backbones:
        if backbone not in study.backbones:
            raise ParameterError(f"point_backbones names '{backbone}'{nearest(backbone, study.backbones)}")
    for point, parameters in study.points.items():
        if point in SETTINGS or not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", point):
            raise ParameterError(f"'{point}' cannot name a point; choose lower-case letters, digits, dots and hyphens, and "
                                 f"none of {', '.join(SETTINGS)}")
        for teacher in parameters.get("teachers", []):
            if teacher not in study.backbones:
                raise ParameterError(f"point '{point}' names the teacher '{teacher}'{nearest(teacher, study.backbones)}")
    known = [*study.points, *study.settings]
    for notebook, points in study.ablations.items():
        if not Path(f"notebooks/{notebook}.ipynb").is_file():
            raise ParameterError(f"there is no notebook notebooks/{notebook}.ipynb")
        for point in points:
            if point not in known:
                raise ParameterError(f"ablation '{notebook}' names the point '{point}'{nearest(point, known)}")


def _expand(text, path):
    """`$NAME` in a study file is an environment variable (DATA, SOUNDS ...), so that no machine's path is written."""
    def value(match):
        if match.group(1) not in os.environ:
            raise ParameterError(f"{path} needs ${match.group(1)}: run `make reproduce STUDY={path.stem} "
                                 f"{match.group(1)}=...`")
        return os.environ[match.group(1)]

    body = "\n".join(line.split("#")[0] if line.lstrip().startswith("#") else line for line in text.splitlines())
    return re.sub(r"\$([A-Z][A-Z0-9_]*)", value, body)


def family(backbone):
    """`passt`, `atst` or `mn`: which stage-1 notebook tells a backbone's story."""
    match = re.match(r"(passt|atst|mn)", backbone)
    if not match:
        raise ParameterError(f"backbone '{backbone}' has no stage-1 notebook{nearest(backbone, STAGE1_NOTEBOOKS)}")
    return match.group(1)


def plan_runs(name, folder="studies"):
    """`{run name: Plan}` in an order in which they could be run one after the other."""
    study = load_study(name, folder)
    plans = {}

    def add(kind, run, notebook, needs, parameters):
        try:
            checked = check(KINDS[kind], {"study": name, "run": run, **parameters})
        except ParameterError as error:
            raise ParameterError(f"{Path(folder) / name}.yaml, section {kind}: {error}") from None
        plans[run] = Plan(run, kind, f"notebooks/{notebook}.ipynb", checked.model_dump(), tuple(needs))

    for seed in study.seeds:
        _plan_seed(name, study, seed, add)
    everything = tuple(plans)
    here = {"figures": study.figures.format(study=name, runs=runs.root()), **study.results}
    chosen = study.point_backbones or study.backbones
    for notebook, points in study.ablations.items():
        wanted = ["stage1", "continued", *points]
        needs = [run for seed in study.seeds for run in (f"{p}-{b}-seed{seed}" for b in chosen for p in wanted)]
        add("ablation", notebook.split("_", 1)[1], notebook, [run for run in needs if run in plans],
            {"points": points, **here})
    if study.other_tasks:
        add("tasks", "other_tasks", NOTEBOOKS["tasks"], everything, here)
    add("results", "results", NOTEBOOKS["results"], everything, here)
    return plans


def _plan_seed(name, study, seed, add):
    """The runs of one seed: data -> stage 1 per backbone -> estimate, stage 2 per backbone and setting."""
    root = os.environ.get("CORRLIB_DATA", "data")
    folder = study.data_folder.format(study=name, seed=seed, data=root)
    here = {"seed": seed, "data": folder}
    corpus = {key: study.data[key] for key in ("corpus", "tolerance") if key in study.data}
    data = f"data-seed{seed}"
    add("data", data, NOTEBOOKS["data"], [], {**here, **study.data})
    teachers = [f"stage1-{backbone}-seed{seed}" for backbone in study.backbones]
    for backbone, run in zip(study.backbones, teachers, strict=True):
        add("stage1", run, STAGE1_NOTEBOOKS[family(backbone)], [data],
            {**here, **corpus, "backbone": backbone, **study.stage1, **study.backbone_stage1.get(backbone, {})})
    for backbone, student in zip(study.backbones, teachers, strict=True):
        for setting in study.settings:
            needs = teachers if setting == "ensemble" else [student]
            add("stage2", f"{setting}-{backbone}-seed{seed}", NOTEBOOKS["stage2"], needs,
                {**here, **corpus, "student": student, "target": SETTINGS[setting],
                 "teachers": teachers if setting == "ensemble" else [],
                 **study.stage2, **study.backbone_stage2.get(backbone, {})})
    _plan_points(study, seed, {**here, **corpus}, add)
    add("estimate", f"correspondences-seed{seed}", NOTEBOOKS["estimate"], teachers,
        {**here, **corpus, "teachers": teachers, **study.estimate})


def _plan_points(study, seed, common, add):
    """Stage-2 runs beside the settings: one for each point and backbone."""
    for backbone in study.point_backbones or study.backbones:
        student = f"stage1-{backbone}-seed{seed}"
        for point, given in study.points.items():
            taught = given.get("target", "ensemble") in ("ensemble", "shuffled")
            teachers = [f"stage1-{b}-seed{seed}" for b in given.get("teachers", study.backbones if taught else [])]
            add("stage2", f"{point}-{backbone}-seed{seed}", NOTEBOOKS["stage2"], list(dict.fromkeys([student, *teachers])),
                {**common, "student": student, **study.stage2, **study.backbone_stage2.get(backbone, {}), **given,
                 "teachers": teachers})
