"""Whether a finished run is still what a plan wants: the one place where this is asked.

`reproduce` asks before it runs anything and again before every run, when its parents are finished; a study that takes
over another's runs asks, and so does `python -m corrlib.study.why`. What is compared are contents, never times.
"""

import os
from collections.abc import Iterable
from typing import Any

from corrlib.study import code, inputs, manifest, runs
from corrlib.study.plan import Plan


def reasons(study: str, plan: Plan, known: dict[str, Any] | None = None, today: bool = True) -> list[str]:
    """Why run `plan.name` of `study` is not what its plan wants, a clause each; none if it is finished and current.

    known: a dict in which the digests of data are kept from one call to the next. today: see `differences`.
    """
    path = runs.root() / study / plan.name / "manifest.json"
    if not path.is_file():
        return ["it is not finished"]
    try:
        content = manifest.read(path)
    except ValueError as error:
        return [str(error)]
    damaged = [f"its {name} is damaged or missing" for name in runs.damaged(path.parent, content)]
    return [*differences(content, plan, known, today), *_other_parents(study, content["made_of"]), *damaged]


def differences(
    content: dict[str, Any], plan: Plan, known: dict[str, Any] | None = None, today: bool = True
) -> list[str]:
    """What differs between a finished run and a plan, leaving aside the runs that it read.

    today: False where the run need not be one that could be made now: its code may be older, its data may be gone.
    """
    before, notebook = content["made_of"], os.path.basename(plan.notebook).removesuffix(".ipynb")
    found = inputs.other_parameters(content["parameters"], plan.parameters)
    if content["notebook"] != notebook:
        found.append(f"its notebook was {content['notebook']}, is {notebook} now")
    if today and before["code"] != code.fingerprints(notebook)["fingerprint"]:
        found.append(f"the code of {notebook} has changed")
    now = _inputs(plan.parameters, {} if known is None else known)
    if before["data"] != now["data"] and (today or now["data"]):
        where = plan.parameters.get("data")
        found.append(f"the data in {where} {'have changed' if now['data'] else 'are missing'}")
    for name in sorted({*before["files"], *now["files"]}):
        there = today or now["files"].get(name, "")
        if there and before["files"].get(name, "") != now["files"].get(name, ""):
            found.append(f"what {name} names ({inputs.places(plan.parameters)[1].get(name)}) has changed")
    return found


def stale(study: str, plans: dict[str, Plan], today: bool = True) -> dict[str, list[str]]:
    """{run: reasons} of the planned runs that are not what the plan wants, in the plan's order.

    today: see `differences`.
    """
    known: dict[str, Any] = {}
    found = {name: reasons(study, plan, known, today) for name, plan in plans.items()}
    return {name: why for name, why in found.items() if why}


def beyond(study: str, plans: dict[str, Plan]) -> list[str]:
    """Finished training runs of a study that its plan does not name, which its tables count all the same.

    They are of another plan, such as one of more seeds or other parameters, or of notebooks that were run by hand.
    """
    return sorted(_trained(study) - set(plans))


def with_dependants(plans: dict[str, Plan], names: Iterable[str]) -> list[str]:
    """The names and all planned runs that wait for them, in the plan's order: these may become others, too."""
    todo = set(names)
    for name, plan in plans.items():
        if todo & set(plan.needs):
            todo.add(name)
    return [name for name in plans if name in todo]


def _other_parents(study: str, before: dict[str, Any]) -> list[str]:
    """Runs that a run read and that have become others, or are no longer there; and runs that it could not know."""
    found = []
    for name, right in before["parents"].items():
        where, _, run = name.rpartition("/")
        path = runs.root() / (where or study) / run / "manifest.json"
        data = before.get("parents_data", {}).get(name)
        try:
            parent = manifest.read(path)
            now = manifest.result(parent["artefacts"])
            if now == right and data is not None and parent["made_of"]["data"] != data:
                found.append(f"run '{name}', which it read, is of other data now")
        except ValueError as error:
            now = ""
            if path.is_file():
                found.append(str(error))
                continue
        if now != right:
            found.append(f"run '{name}', which it read, {'has become another' if now else 'is not finished'}")
    if before["listed"] is not None:
        other = set(before["listed"]) ^ _trained(study)
        if other:
            found.append(f"the study has other finished runs than when it listed them ({min(other)})")
    return found


def _trained(study: str) -> set[str]:
    """Names of the finished training runs of a study; one whose manifest is damaged is none."""
    found = set()
    for path in (runs.root() / study).glob("*/manifest.json"):
        try:
            if manifest.read(path).get("setting"):
                found.add(path.parent.name)
        except ValueError:
            continue
    return found


def _inputs(parameters: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    key = repr(inputs.places(parameters))
    if key not in known:
        known[key] = inputs.of_parameters(parameters)
    return known[key]
