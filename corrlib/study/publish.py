"""`python -m corrlib.study.publish STUDY`: copy a finished study's tables and figures to where they are published.

Runs write into `runs/<study>/figures`; nothing but this command writes into the folder that the study file's `figures:`
names. Beside the copies it leaves `provenance.json`: which code, processor and command made them, and when.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from corrlib.figures.measures import shown
from corrlib.files import digest, write_atomically
from corrlib.processes import end_with
from corrlib.study import identity, runs
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs
from corrlib.study.study_file import load_study

PUBLISHED = (".csv", ".png", ".svg")
PROVENANCE = "provenance.json"
# what is made by one notebook without a study file: {name: (command, {run: notebook})}
ALONE = {"benchmark": ("make benchmark", {"benchmark": "notebooks/90_benchmark.ipynb"})}
ENOUGH_SEEDS = 3  # for an interval over seeds


def published_folder(study: str) -> Path:
    """The folder that the study file's `figures:` names; ParameterError where there is no such study."""
    if study in ALONE:
        return Path("figures") / study
    return Path(load_study(study).figures.format(study=study))


def provenance(folder: str | Path) -> dict:
    """What `provenance.json` of a published folder says: `study`, and `made`, a list of who made which files.

    An entry has `files` (names without their endings), `command`, `commit`, `fingerprint`, `processor`, `date`, `torch`
    and, where somebody knew more, `note`; what was not recorded is None. Without the file: {} .
    """
    path = Path(folder) / PROVENANCE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry["files"], list) for entry in found["made"]):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ParameterError(f"{path} is damaged; restore it from git") from None
    return found


def origin(study: str) -> dict:
    """The entry of `provenance.json` for a study's runs, without its files.

    ParameterError, one sentence, where a run is not finished or not what the plan wants, where the study's tables count
    runs that its plan does not name, or where runs were made by different code or on different processors: a table
    speaks for one of each.
    """
    command, notebooks = ALONE.get(study) or (
        f"make reproduce STUDY={study}",
        {name: plan.notebook for name, plan in plan_runs(study).items()},
    )
    missing = [name for name in notebooks if not runs.is_finished(study, name)]
    if _in_parts(study) and len(missing) < len(notebooks):
        notebooks = {name: notebook for name, notebook in notebooks.items() if name not in missing}
    elif missing:
        raise ParameterError(
            f"study '{study}' is not finished: {len(missing)} of {len(notebooks)} runs are missing, the first is "
            f"'{missing[0]}'; run `{command}`"
        )
    if study not in ALONE:
        _refuse_other_runs(study, command, notebooks)
    manifests = {name: runs.read_manifest(study, name) for name in notebooks}
    code = _one_code(study, command, manifests, notebooks)
    last = list(notebooks)[-1]
    return {
        "command": command,
        "commit": _commit(manifests[last].get("code") or {}),
        "fingerprint": code,
        "processor": _one_processor(study, command, manifests),
        "date": max(_date(study, name, content) for name, content in manifests.items()),
        "torch": " and ".join(sorted({m["packages"]["torch"] for m in manifests.values()})),
    }


def _in_parts(study: str) -> bool:
    return study not in ALONE and load_study(study).in_parts


def _refuse_other_runs(study: str, command: str, names: Iterable[str]) -> None:
    """ParameterError where a study's tables are not of just the runs that its file asks for; names: of finished ones.

    Of a study in parts, the notebook that draws what there is may be run by hand, with other parameters.
    """
    plans, drawing = plan_runs(study), "map" if _in_parts(study) else ""
    wanted = {name: plans[name] for name in names if plans[name].kind != drawing}
    for name, why in identity.stale(study, wanted, today=False).items():
        raise ParameterError(
            f"run '{name}' of study '{study}' is not what its file asks for: {why[0]}; run `{command}`"
        )
    if beyond := identity.beyond(study, plans):
        raise ParameterError(
            f"the tables of study '{study}' count the run '{beyond[0]}', which its file does not ask for; remove "
            f"{runs.root() / study / beyond[0]} and run `{command}`"
        )


def _date(study: str, run: str, content: dict[str, Any]) -> str:
    """Of a run's end, by its manifest; by the file's own time where an older manifest does not tell."""
    if content.get("finished"):
        return str(content["finished"])[:10]
    changed = (runs.folder_of(study, run) / "manifest.json").stat().st_mtime
    return datetime.fromtimestamp(changed, UTC).date().isoformat()


def _commit(code: dict[str, Any]) -> str | None:
    return f"{code['commit'][:7]}{', with changes' if code.get('dirty') else ''}" if code.get("commit") else None


def _one_code(study: str, command: str, manifests: dict[str, dict[str, Any]], notebooks: dict[str, str]) -> str:
    """One fingerprint of the code of all runs: of each kind of run, which must be of one code each."""
    first, prints = {}, {}
    for name, content in manifests.items():
        kind, made_of = notebooks[name], content["made_of"]
        for key, found in ((kind, made_of["code"]), ("training", made_of["training"])):
            first.setdefault(key, name)
            if prints.setdefault(key, found) != found:
                raise ParameterError(
                    f"runs '{first[key]}' and '{name}' of study '{study}' were made by different code; run "
                    f"`{command}`, which makes those again that are of other code than today's"
                )
    return digest(prints)[:16]


def _one_processor(study: str, command: str, manifests: dict[str, dict[str, Any]]) -> str | None:
    """The model of what computed: the GPU of the runs that used one, else the processor of all."""
    told = {name: manifest.get("hardware") or {} for name, manifest in manifests.items()}
    used = {name: own["gpu"] for name, own in told.items() if own.get("gpu")}
    used = used or {name: own.get("processor") for name, own in told.items()}
    one, model = next(iter(used.items()))
    other = next((name for name, own in used.items() if own != model), None)
    if other:
        raise ParameterError(
            f"runs '{one}' ({model or 'not recorded'}) and '{other}' ({used[other] or 'not recorded'}) of study "
            f"'{study}' were computed on different processors, which round differently; run `{command}` on one of them"
        )
    return model


def publish(study: str, replace: bool = False) -> Path:
    """Copy a finished study's tables and figures to its published folder and say there who made them.

    ParameterError where the study is not one of one code and processor (see `origin`), where it has written nothing,
    or where the folder holds another study's files, unless told to `replace` them.
    """
    folder, entry = published_folder(study), origin(study)
    source = runs.figures_folder(study)
    drawn = _drawn(study)
    files = sorted(
        path
        for path in source.glob("*")
        if path.suffix in PUBLISHED and not path.name.startswith(".") and (not drawn or path.name in drawn)
    )
    if not files:
        raise ParameterError(f"{source} holds no table and no figure; run `{entry['command']}`")
    before, owner = _make_room(study, folder, replace), study
    if _in_parts(study):
        owner = provenance(folder).get("study", study)
        others = {name for old in before if old["command"] != entry["command"] for name in old["files"]}
        files = [path for path in files if path.stem not in others]
    names = sorted({path.stem for path in files})
    for path in files:
        write_atomically(folder / path.name, path.read_bytes())
    made = [{"files": names, **entry}]
    for old in before:
        if old["command"] == entry["command"]:
            _remove(folder, set(old["files"]) - set(names))  # what this study no longer draws
            continue
        kept = [name for name in old["files"] if name not in names]
        made += [{**old, "files": kept}] if kept else []
    write_atomically(
        folder / PROVENANCE, json.dumps({"study": owner, "made": made}, indent=1, ensure_ascii=False) + "\n"
    )
    return folder


def _drawn(study: str) -> set[str]:
    """Files that the runs of a study's plan wrote into its figures; none where their manifests do not tell.

    What an earlier plan left there, such as an ablation that is no longer asked for, is not among them. Of a study in
    parts every finished run counts, as the notebook that draws what there is may have been run by hand.
    """
    if _in_parts(study):
        names = list(runs.finished(study))
    else:
        names = list(ALONE[study][1]) if study in ALONE else list(plan_runs(study))
    return {name for run in names for name in runs.read_manifest(study, run).get("figures", {})}


def _make_room(study: str, folder: Path, replace: bool) -> list[dict[str, Any]]:
    """Entries of what the folder holds; of another study's files nothing is left, if they may be replaced."""
    found, owner = provenance(folder), _owner(folder)
    if owner in (None, study) or _in_parts(study):
        return found.get("made", [])
    if not replace:
        raise ParameterError(
            f"{folder} holds what {f'study {owner!r}' if owner else 'somebody'} published; give '{study}' a folder of "
            f"its own (`figures: figures/{study}` in its study file), or publish it with --replace (REPLACE=yes)"
        )
    for entry in found.get("made", []):
        _remove(folder, entry["files"])
    return []


def _owner(folder: Path) -> str | None:
    """The study whose files a folder holds: its name, '' where files do not tell, None where there are none."""
    if found := provenance(folder).get("study"):
        return found
    tables = sorted(path for path in folder.glob("*.csv") if path.is_file())
    for path in tables:
        columns = pd.read_csv(path, nrows=1)
        if "study" in columns and len(columns):
            return str(columns["study"].iloc[0])
    return "" if tables else None


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        for ending in PUBLISHED:
            (folder / f"{name}{ending}").unlink(missing_ok=True)


def beside_published(study: str) -> list[str]:
    """Lines that hold a study's differences from `continued` against the published ones; [] where either is missing.

    Of the main metrics, on the mean of the backbones, or of the one backbone that there is.
    """
    tables = [_main_differences(study, where) for where in (runs.figures_folder(study), published_folder(study))]
    here, published = ({} if table is None else table for table in tables)
    width = max((len(key) for key in here if key in published), default=0)
    return [f"{key:<{width}}  {here[key]} here, {published[key]} published" for key in here if key in published]


def _main_differences(study: str, folder: Path) -> dict[str, str] | None:
    """{comparison: difference with interval, in percentage points}, or None where there is no such table."""
    path = folder / "differences.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    table = table[
        (table["study"] == study) & (table["against"] == "continued") & table["metric"].isin(shown(table["metric"]))
    ]
    if table["backbone"].nunique() > 1:
        table = table[table["backbone"] == "all backbones"]
    told = {}
    for row in table.to_dict("records"):
        over = "seeds_" if row.get("seeds", 1) >= ENOUGH_SEEDS else ""  # as corrlib.figures.style.main_interval
        low, high = (100 * row[f"{over}{end}"] for end in ("low", "high"))
        key = f"{row['setting']} - continued, {row['metric']}, {row['backbone']}:"
        told[key] = f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="builtin")
    parser.add_argument("--replace", action="store_true", help="although the folder holds another study's files")
    arguments = parser.parse_args()
    try:
        folder = publish(arguments.study, arguments.replace)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"study '{arguments.study}' is published in {folder}; `make pages` renders README.md and docs/ from it")
    return 0


if __name__ == "__main__":
    end_with(main)
