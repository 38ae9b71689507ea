"""`python -m corrlib.study.why STUDY/RUN`: what made a run, whether all of it is still so, what would be done again."""

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version

from corrlib.processes import end_with
from corrlib.study import identity, runs
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import Plan, needed, plan_runs
from corrlib.study.study_file import studies_folder


def planned(study: str, run: str) -> dict[str, Plan]:
    """The plans of a study that has a file; else the one that a run by itself would have, by its own manifest."""
    if (studies_folder() / f"{study}.yaml").is_file():
        plans = plan_runs(study)
        if run in plans:
            return plans
    content = runs.read_manifest(study, run)
    return {run: Plan(run, "", f"notebooks/{content['notebook']}.ipynb", content["parameters"], ())}


def explain(study: str, run: str) -> str:
    """What made a finished run and whether it is still so, in words."""
    plans = planned(study, run)
    content = runs.read_manifest(study, run)
    made, machine = content["made_of"], content["hardware"]
    lines = [
        f"{study}/{run}: {content['notebook']}, {content['wall_seconds']:.0f} s on {machine.get('processor')}",
        f"  code {made['code']} ({runs.commit_of(content)})",
        f"  data {made['data'] or 'none'} ({content['parameters'].get('data', '')})",
        *(f"  {name} {found}" for name, found in made["files"].items()),
        f"  with {', '.join(_with(content['packages']))}",
        *(f"  read run {name}, result {found}" for name, found in made["parents"].items()),
    ]
    why = identity.reasons(study, plans[run])
    waited_for = needed(plans, [run])
    stale = identity.stale(study, {name: plan for name, plan in plans.items() if name in waited_for})
    why += [
        f"run '{name}', which it waits for, is not current: {found[0]}" for name, found in stale.items() if name != run
    ]
    lines += [f"  not current: {reason}" for reason in why] or ["  current: all of it is still so"]
    again = identity.with_dependants(plans, [run] if why else [])
    if again:
        lines.append(
            f"  `make reproduce STUDY={study}` would make it again, then look at {len(again) - 1} runs that wait"
        )
    return "\n".join(lines)


def _with(packages: dict[str, str]) -> list[str]:
    """The packages that a run was made with. Others are no reason to make it again, but said where they are others."""
    found = []
    for name, before in packages.items():
        try:
            now = version(name)
        except PackageNotFoundError:
            now = "missing"
        found.append(f"{name} {before}" + (f" (here {now})" if now != before else ""))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="study/run")
    arguments = parser.parse_args()
    study, _, run = arguments.run.removeprefix(f"{runs.root()}/").strip("/").partition("/")
    try:
        if not study or not run or "/" in run:
            raise ParameterError(f"'{arguments.run}' names no run; give STUDY/RUN, such as smoke/results")
        print(explain(study, run))
    except (ParameterError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_with(main)
