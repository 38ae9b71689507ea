"""`python -m corrlib.study.why STUDY/RUN`: what made a run, whether all of it is still so, what would be done again."""

import argparse
import sys

from corrlib.study import identity, runs
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import Plan, plan_runs
from corrlib.study.study_file import studies_folder

NOTEBOOKS_OF = {"01": "data", "05": "estimate", "06": "stage2", "11": "tasks", "12": "results", "13": "explore"}


def planned(study: str, run: str) -> dict[str, Plan]:
    """The plans of a study that has a file; else the one that a run by itself would have, by its own manifest."""
    if (studies_folder() / f"{study}.yaml").is_file():
        plans = plan_runs(study)
        if run in plans:
            return plans
    content = runs.read_manifest(study, run)
    kind = NOTEBOOKS_OF.get(content["notebook"][:2], "")
    path = f"notebooks/{content['notebook']}.ipynb"
    return {run: Plan(run, kind, path, content["parameters"], tuple(content["made_of"]["parents"]))}


def needed(plans: dict[str, Plan], run: str) -> set[str]:
    """A run and all planned runs that it needs, at any remove."""
    names, waiting = set(), [run]
    while waiting:
        name = waiting.pop()
        if name in plans and name not in names:
            names.add(name)
            waiting += plans[name].needs
    return names


def explain(study: str, run: str) -> str:
    """What made a finished run and whether it is still so, in words."""
    plans = planned(study, run)
    content = runs.read_manifest(study, run)
    made = content["made_of"]
    code, machine = content["code"], content["hardware"]
    lines = [
        f"{study}/{run}: {content['notebook']}, {content['wall_seconds']:.0f} s on {machine.get('processor')}",
        f"  code {made['code']} (commit {str(code.get('commit'))[:8]}{', changed' if code.get('dirty') else ''})",
        f"  data {made['data'] or 'none'} ({content['parameters'].get('data', '')})",
        *(f"  {name} {found}" for name, found in made["files"].items()),
        *(f"  read run {name}, result {found}" for name, found in made["parents"].items()),
    ]
    why = identity.reasons(study, plans[run])
    stale = identity.stale(study, {name: plan for name, plan in plans.items() if name in needed(plans, run)})
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="study/run")
    arguments = parser.parse_args()
    study, _, run = arguments.run.removeprefix(f"{runs.root()}/").strip("/").partition("/")
    try:
        print(explain(study, run))
    except (ParameterError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
