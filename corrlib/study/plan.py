"""The graph of a study: every run that it takes, with its notebook, its parameters and the runs that it needs."""

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corrlib.study import relevances, runs
from corrlib.study.backbones import family
from corrlib.study.outside import is_outside
from corrlib.study.parameters import ENSEMBLE_TARGETS, KINDS, SETTINGS, ParameterError, check, nearest, need_packages
from corrlib.study.sections import where_given
from corrlib.study.study_file import StudyFile, load_study, studies_folder, where_is

NOTEBOOKS = {
    "data": "01_data",
    "estimate": "05_correspondences",
    "stage2": "06_stage2",
    "tasks": "11_other_tasks",
    "results": "12_results",
    "explore": "13_explore",
}


@dataclass(frozen=True)
class Plan:
    """One run to be: its name, notebook, parameters (checked) and the runs it needs."""

    name: str
    kind: str
    notebook: str
    parameters: dict
    needs: tuple


def plan_runs(name: str, folder: str | Path | None = None) -> dict[str, Plan]:
    """`{run name: Plan}` in an order in which they could be run one after the other."""
    folder = studies_folder() if folder is None else folder
    study = load_study(name, folder)
    planner = _Planner(name, study, Path(folder) / f"{name}.yaml")
    for seed in study.seeds:
        planner.seed(seed)
    planner.summaries()
    return planner.plans


def urgency(plans: dict[str, Plan]) -> dict[str, int]:
    """{run: priority}: first what the longest chain of other runs waits for; of equals, the one that is planned
    first.
    """
    behind = dict.fromkeys(plans, 0)
    for run in reversed(plans):
        for needed in plans[run].needs:
            behind[needed] = max(behind[needed], behind[run] + 1)
    return {run: (behind[run] + 1) * len(plans) - place for place, run in enumerate(plans)}


def needed(plans: dict[str, Plan], wanted: Iterable[str]) -> list[str]:
    """Names of the wanted runs and of all that they need; ParameterError names one that is not planned.

    A name with `*` or `?` stands for all runs that match it.
    """
    found, waiting = [], []
    for name in wanted:
        matching = fnmatch.filter(plans, name) if set(name) & set("*?") else [name]
        if not matching:
            raise ParameterError(f"no run of the study matches '{name}'{nearest(name, plans)}")
        waiting += matching
    while waiting:
        name = waiting.pop()
        if name not in plans:
            raise ParameterError(f"the study has no run '{name}'{nearest(name, plans)}")
        if name not in found:
            found.append(name)
            waiting += plans[name].needs
    return found


def require_finished(study: str, names: list[str]) -> None:
    """FileNotFoundError names those of these runs that are not finished yet, each with the notebook that makes it."""
    missing = [name for name in names if not is_outside(name) and not runs.is_finished(study, name)]
    if missing:
        made = "; ".join(f"'{name}' is made by {notebook_of(name)}" for name in dict.fromkeys(missing))
        raise FileNotFoundError(f"study '{study}' has not finished what this run needs; run that first: {made}")


def notebook_of(run: str) -> str:
    """The notebook that makes a run of this name, which begins as plans name runs."""
    kind, _, rest = run.partition("-")
    try:
        name = {"data": "01_data", "correspondences": "05_correspondences"}.get(kind) or (
            family(rest.rpartition("-seed")[0]).notebook if kind == "stage1" else "06_stage2"
        )
    except ValueError:  # a variant or a member, whose name need not begin with its backbone's
        name = "02, 03 or 04"
    return name


def place_of(study: str, folder: str | Path, kind: str, run: str, name: str) -> str:
    """Where a study gives a run of a kind a parameter: `studies/mine.yaml, line 4 (stage1.epochs)`; "" if nowhere."""
    line, keys = where_is(study, Path(folder), lambda keys: keys[-1] == name and where_given(kind, run, keys))
    return f"{line} ({keys})" if line else ""


def control_of(point: str) -> str:
    """The point of equal training on annotated pairs: `continued`, or that of a point's own rate or epochs.

    >>> control_of("self-lr-0.001"), control_of("ensemble-epochs-20"), control_of("mixture-0.5")
    ('continued-lr-0.001', 'continued-epochs-20', 'continued')
    """
    own = re.search(r"-(lr|epochs)-[^-]+$", point)
    return f"continued{own.group()}" if own else "continued"


class _Planner:
    def __init__(self, name: str, study: StudyFile, path: Path) -> None:
        self.name, self.study, self.path = name, study, path
        self.plans: dict[str, Plan] = {}

    def add(self, kind: str, run: str, notebook: str, needs: Iterable[str], parameters: dict[str, Any]) -> None:
        try:
            checked = check(KINDS[kind], {"study": self.name, "run": run, **parameters})
            need_packages(checked)
            if getattr(checked, "target", "") == "true" and getattr(checked, "corpus", "") != "soundscapes":
                raise ParameterError(
                    "target 'true' needs a corpus whose truth is known; choose corpus 'soundscapes'", "target"
                )
        except ParameterError as error:
            raise ParameterError(f"{self.where(kind, run, error)}, run '{run}': {error}", error.culprit) from None
        of_runs = tuple(dict.fromkeys(name for name in needs if not is_outside(name)))
        self.plans[run] = Plan(run, kind, f"notebooks/{notebook}.ipynb", checked.model_dump(), of_runs)

    def where(self, kind: str, run: str, error: ParameterError) -> str:
        """Where the study gives the parameter that an error is about, or the first one that its sentence names."""
        named = [error.culprit] if error.culprit else re.findall(r"\w+", str(error))
        for name in named:
            if name in KINDS[kind].model_fields:
                place = place_of(self.name, self.path.parent, kind, run, name)
                if place:
                    return place
        for name, key in (("teachers", "backbones"), ("target", "settings")):  # that a study gives by other keys
            line, _ = where_is(self.name, self.path.parent, lambda keys, key=key: keys == (key,))
            if line and name in named:
                return f"{line} ({key})"
        return f"{self.path}, section {kind}"

    def seed(self, seed: int) -> None:
        """The runs of one seed: data -> stage 1 per backbone -> estimate, stage 2 per backbone and setting."""
        study, common = self.study, self._data(seed)
        teachers = [self._stage_one(seed, b, common) for b in study.backbones]
        for member, given in study.members.items():
            if member in study.backbones:
                continue
            own = dict(given)
            self._stage_one(seed, own.pop("backbone"), common, member, own)
        teachers += self._outside(seed, study.teachers)
        for backbone in study.backbones:
            for setting in study.settings:
                self._stage_two(seed, backbone, common, setting, teachers)
        self._points(seed, common)
        self.add(
            "estimate",
            f"correspondences-seed{seed}",
            NOTEBOOKS["estimate"],
            teachers,
            {**common, "teachers": teachers, **study.estimate},
        )
        for name in study.variants:
            self._variant(seed, name, common)

    def _data(self, seed: int, variant: str | None = None) -> dict[str, Any]:
        """Plan the corpus of a seed; returns the parameters that all runs on it share."""
        study, root = self.study, os.environ.get("CORRLIB_DATA", "data")
        given = {**study.data, **(study.variants[variant].data if variant else {})}
        folder = study.data_folder.format(study=self.name, seed=seed, data=root)
        if variant:
            folder = f"{root}/{self.name}/{variant}-seed-{seed}"
        here = {"seed": seed, "data": folder}
        run = f"data-{variant}-seed{seed}" if variant else f"data-seed{seed}"
        self.add("data", run, NOTEBOOKS["data"], [], {**here, **given})
        shared = {key: given[key] for key in ("corpus", "tolerance", "exclude") if key in given}
        if study.relevance and not variant:
            shared["relevance"] = self._relevance(seed)
        return {**here, **shared}

    def _relevance(self, seed: int) -> str | dict[str, str]:
        """The study's relevance, `{data}`, `{study}` and `{seed}` in its places replaced, as in `data_folder`."""
        root = os.environ.get("CORRLIB_DATA", "data")
        placed = {
            name: place.format(study=self.name, seed=seed, data=root)
            for name, place in relevances.places(self.study.relevance).items()
        }
        return placed.get("", placed)

    def _data_run(self, common: dict[str, Any]) -> str:
        return next(
            run for run, plan in self.plans.items() if plan.kind == "data" and plan.parameters["data"] == common["data"]
        )

    def _stage_one(
        self,
        seed: int,
        backbone: str,
        common: dict[str, Any],
        name: str | None = None,
        given: dict[str, Any] | None = None,
        needs: Iterable[str] = (),
    ) -> str:
        run = f"stage1-{name or backbone}-seed{seed}"
        model = {"backbone": backbone}
        if backbone in self.study.members:
            model = {**self.study.members[backbone], "member": backbone}
        self.add(
            "stage1",
            run,
            family(model["backbone"]).notebook,
            [self._data_run(common), *needs],
            {
                **common,
                **self.study.stage1,
                **self.study.backbone_stage1.get(backbone, {}),
                **model,
                **(given or {}),
            },
        )
        return run

    def _stage_two(
        self,
        seed: int,
        backbone: str,
        common: dict[str, Any],
        setting: str,
        teachers: list[str],
        variant: str = "",
        given: dict[str, Any] | None = None,
    ) -> None:
        student = f"stage1-{variant}{backbone}-seed{seed}"
        taught = teachers if SETTINGS[setting]["target"] in ENSEMBLE_TARGETS else []
        self.add(
            "stage2",
            f"{setting}-{variant}{backbone}-seed{seed}",
            NOTEBOOKS["stage2"],
            [student, *taught],
            {
                **common,
                "student": student,
                "teachers": taught,
                **self.study.stage2,
                **self.study.backbone_stage2.get(backbone, {}),
                **(given or {}),
                **SETTINGS[setting],
            },
        )

    def _points(self, seed: int, common: dict[str, Any]) -> None:
        """Stage-2 runs beside the settings: one for each point and backbone."""
        study = self.study
        for backbone in study.point_backbones or study.backbones:
            for point, given in study.points.items():
                given = dict(given)
                student = f"{given.pop('student', 'stage1')}-{backbone}-seed{seed}"
                source = given.pop("teachers_of", "stage1")
                taught = given.get("target", "ensemble") in ENSEMBLE_TARGETS
                named = given.pop("teachers", [*study.backbones, *study.teachers] if taught else [])
                teachers = [f"{source}-{b}-seed{seed}" for b in named if not is_outside(b)]
                teachers += self._outside(seed, [teacher for teacher in named if is_outside(teacher)])
                self.add(
                    "stage2",
                    f"{point}-{backbone}-seed{seed}",
                    NOTEBOOKS["stage2"],
                    [student, *teachers],
                    {
                        **common,
                        "student": student,
                        **study.stage2,
                        **study.backbone_stage2.get(backbone, {}),
                        **given,
                        "teachers": teachers,
                    },
                )

    def _outside(self, seed: int, teachers: Iterable[str]) -> list[str]:
        """Teachers from outside, `{data}`, `{study}` and `{seed}` in their names replaced, as in `data_folder`."""
        root = os.environ.get("CORRLIB_DATA", "data")
        return [teacher.format(study=self.name, seed=seed, data=root) for teacher in teachers]

    def _variant(self, seed: int, name: str, common: dict[str, Any]) -> None:
        """A variant's own models, from stage 1 on; on the study's corpora but where it says otherwise of the data."""
        study, variant = self.study, self.study.variants[name]
        common = self._data(seed, name) if variant.data else common
        backbones, teachers = variant.backbones or study.backbones, []
        for backbone in backbones:
            # the study's own run first: it leaves the pretrained backbone behind
            teachers.append(
                self._stage_one(
                    seed,
                    backbone,
                    common,
                    f"{name}-{backbone}",
                    {**variant.training, **variant.stage1},
                    [f"stage1-{backbone}-seed{seed}"],
                )
            )
        for backbone in variant.students or study.point_backbones or backbones:
            for setting in (variant.settings or study.variant_settings) if backbone in backbones else []:
                self._stage_two(
                    seed, backbone, common, setting, teachers, f"{name}-", {**variant.training, **variant.stage2}
                )
        self.add(
            "estimate",
            f"correspondences-{name}-seed{seed}",
            NOTEBOOKS["estimate"],
            teachers,
            {**common, "teachers": teachers, **study.estimate},
        )

    def summaries(self) -> None:
        """The runs that compare others: ablations, other tasks, results."""
        study, everything = self.study, tuple(self.plans)
        if "figures" in study.results:
            raise ParameterError(
                f"{self.path}, section results: runs write into {runs.figures_folder(self.name)}; remove 'figures' "
                "(the key of that name at the top level says where `make publish` copies them)"
            )
        here = {"figures": str(runs.figures_folder(self.name)), **study.results}
        for notebook, names in study.ablations.items():
            points = [name for name in names if name not in study.variants]
            variants = [name for name in names if name in study.variants]
            self._check_controls(notebook, points, variants)
            self.add(
                "map" if notebook.startswith("14") else "ablation",
                notebook.split("_", 1)[1],
                notebook,
                self._needs(points, variants),
                {"points": points, "variants": variants, **here},
            )
        if study.other_tasks:
            self.add("tasks", "other_tasks", NOTEBOOKS["tasks"], everything, here)
        if study.explore:
            self.add("explore", "explore", NOTEBOOKS["explore"], everything, here)
        self.add("results", "results", NOTEBOOKS["results"], everything, here)

    def _check_controls(self, notebook: str, points: list[str], variants: list[str]) -> None:
        """An ablation is refused now, not after all training, where what it compares with is never run."""
        study = self.study
        wanted = [("continued", "every point", study.settings)]
        for point in points:
            control = control_of(point)
            if notebook.startswith("09") and control not in ("continued", point):
                wanted.append((control, f"'{point}'", list(study.points)))
            if notebook.startswith("10") and point in ("second", "second-same"):
                wanted.append(("second-continued", f"'{point}'", list(study.points)))
        if notebook.startswith(("10", "14")):
            wanted += [("ensemble", "every variant", study.settings)]
            of_variant = {v: study.variants[v].settings or study.variant_settings for v in variants}
            wanted += [(s, f"'{v}'", own) for v, own in of_variant.items() for s in ("continued", "ensemble")]
        for control, point, there in wanted:
            if control not in there:
                raise ParameterError(
                    f"{self.path}: ablation '{notebook}' needs '{control}' to judge {point} by; add it to the study's "
                    "settings or points, or to the variant's settings"
                )

    def _needs(self, points: list[str], variants: list[str]) -> Iterator[str]:
        chosen = self.study.point_backbones or self.study.backbones
        for seed in self.study.seeds:
            wanted = [f"{p}-{b}-seed{seed}" for b in chosen for p in ("stage1", "continued", *points)]
            wanted += [f"stage1-{m}-seed{seed}" for m in (*self.study.backbones, *self.study.members)]
            wanted.append(f"correspondences-seed{seed}")
            wanted += [run for run in self.plans for v in variants if f"-{v}-" in run and run.endswith(f"-seed{seed}")]
            yield from (run for run in wanted if run in self.plans)
