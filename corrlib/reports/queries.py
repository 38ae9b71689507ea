"""What the finished runs of a study were judged by, query by query: the tables that all its comparisons start from."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from corrlib.figures.style import POOLED, setting_order
from corrlib.study import runs

ENSEMBLE = ("ensemble of all", "stage1 ensemble")
ZERO_SHOT = "zero-shot"  # the setting of a teacher from outside, which 05 has judged as it is
QUERIES = "queries.csv"  # of a run: a row a caption; by other relevances, and of clips, in `queries/<name>.csv`
CLIPS = "clip-to-caption"  # what judges beside the captions in every run
Queries = dict[tuple[str, str], dict[int, pd.DataFrame]]  # {(backbone, setting): {seed: per-query values}}


@dataclass(frozen=True)
class Judged:
    """Per-query values of a study: queries {(backbone, setting): {seed: DataFrame}}.

    Each DataFrame has a row a query: caption_id, clip, and a column a measure (the right side of results.METRICS).
    same_clips: all seeds were judged on the same clips (a real corpus), not each on its own (the built-in one).
    beyond: {CLIPS or the name of a relevance: the same of its own queries}, columns `<name> <value>`; of
    clips, clip_id stands in place of caption_id.
    """

    study: str
    queries: Queries
    same_clips: bool = False
    beyond: dict[str, Queries] = field(default_factory=dict)


def load(study: str, training_runs: pd.DataFrame) -> Judged:
    """The Judged of a study from `runs.gather(study)`, with its stage-1 ensemble as one more model.

    ValueError where two runs of a setting compete or were judged on different data.
    """
    training_runs = one_run_each(study, training_runs)
    fingerprints = check_same_data(study, training_runs)
    beyond = {name: _load_all(study, training_runs, name) for name in names_beyond(study, training_runs)}
    return Judged(study, _load_all(study, training_runs), share_clips(fingerprints), beyond)


def _load_all(study: str, training_runs: pd.DataFrame, name: str = "") -> Queries:
    """Per-query values by one relevance of the runs, of the stage-1 ensemble and of teachers from outside."""
    check_same_relevance(study, training_runs, name)
    queries = load_queries(study, training_runs, f"queries/{name}.csv" if name else QUERIES)
    return {**queries, **stage_one_ensemble(study, queries, name), **zero_shot(study, queries, name)}


def names_beyond(study: str, training_runs: pd.DataFrame) -> list[str]:
    """By what the runs were judged beside their captions: CLIPS, and the names of relevances."""
    wrote = {name: None for run in training_runs["run"] for name in runs.read_manifest(study, run)["artefacts"]}
    return sorted(
        (name.removeprefix("queries/").removesuffix(".csv") for name in wrote if name.startswith("queries/")),
        key=lambda name: (name != CLIPS, name),
    )


def check_same_relevance(study: str, training_runs: pd.DataFrame, name: str) -> None:
    """ValueError names two runs of one seed that were judged by different relevances of one name."""
    first: dict[tuple[int, str], str] = {}
    for run, seed in training_runs[["run", "seed"]].itertuples(index=False):
        files = runs.read_manifest(study, run)["made_of"]["files"]
        own = files.get(f"relevance.{name}", files.get("relevance"))
        for other in [run for (of, right), run in first.items() if of == seed and own and right != own]:
            raise ValueError(
                f"runs '{other}' and '{run}' of study '{study}' were judged by relevances '{name}' that are not the "
                "same; run one of them again"
            )
        if own:
            first.setdefault((seed, own), run)


def share_clips(fingerprints: Mapping[int, str]) -> bool:
    """Whether several seeds were all judged on the same data. fingerprints: {seed: data fingerprint}."""
    return len(fingerprints) > 1 and len(set(fingerprints.values())) == 1


def one_run_each(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """One run for each backbone, setting and seed: where there are several (ablations), the one of the study's plan.

    That is the one named `<setting>-<backbone>-seed<seed>`; ValueError names two runs of which neither is.
    """
    chosen = []
    for (backbone, setting, seed), group in training_runs.groupby(["backbone", "setting", "seed"], sort=False):
        planned = group[group["run"] == f"{setting}-{backbone}-seed{seed}"]
        if len(group) > 1 and planned.empty:
            one, other = group["run"].iloc[:2]
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' are both '{setting}' of {backbone}, seed "
                f"{seed}; give one of them a study of its own or name it {setting}-{backbone}-seed{seed}"
            )
        chosen.append(planned if len(planned) else group)
    table = pd.concat(chosen, ignore_index=True)
    order = table["setting"].map(setting_order(table["setting"]).index)
    return table.assign(order=order).sort_values(["order", "backbone", "seed"]).drop(columns="order")


def check_same_data(study: str, training_runs: pd.DataFrame) -> dict[int, str]:
    """{seed: data fingerprint}; ValueError names two runs of one seed that were judged on different data."""
    by_seed: dict[int, str] = {}
    for seed in sorted(training_runs["seed"].unique().tolist()):
        names = training_runs.loc[training_runs["seed"] == seed, "run"]
        prints = {run: runs.read_manifest(study, run)["data_fingerprint"] for run in names}
        one = next(iter(prints))
        by_seed[seed] = prints[one]
        other = next((run for run in prints if prints[run] != prints[one]), None)
        if other:
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' were evaluated on different data; run one of them again"
            )
    return by_seed


def at_last_epoch(judged: Judged, training_runs: pd.DataFrame) -> Judged:
    """The same runs with the weights after their last epoch, whichever epoch was kept; without the ensemble.

    training_runs: as of `load`.
    """
    chosen = one_run_each(judged.study, training_runs)
    return Judged(judged.study, load_queries(judged.study, chosen, "queries-last_epoch.csv"), judged.same_clips)


def load_queries(study: str, training_runs: pd.DataFrame, name: str = QUERIES) -> Queries:
    """{(backbone, setting): {seed: DataFrame of per-query values}}. name: of the runs' file that holds them.

    Of another file than QUERIES, runs that have none are left out.
    """
    queries: Queries = {}
    keys = training_runs[["backbone", "setting", "seed", "run"]].itertuples(index=False, name=None)
    for backbone, setting, seed, run in keys:
        if name == QUERIES or name in runs.read_manifest(study, run)["artefacts"]:
            queries.setdefault((backbone, setting), {})[seed] = runs.read_table(study, run, name)
    return {key: dict(sorted(tables.items())) for key, tables in queries.items()}


def ids(table: pd.DataFrame) -> list[str]:
    """Names of the queries of a table of per-query values: captions, or clips."""
    return table["caption_id" if "caption_id" in table else "clip_id"].tolist()


def stage_one_ensemble(study: str, queries: Queries, name: str = "") -> Queries:
    """{ENSEMBLE: {seed: per-query values}}: the stage-1 models' mean similarity as one model; {} without 05 runs.

    name: of what judges beside the captions; by a relevance, 05 has judged those queries alone that are captions of the
    corpus. Warns and leaves a seed out whose 05 run judged another split than the models.
    """
    seeds = sorted({seed for tables in queries.values() for seed in tables})
    reference = {seed: table for tables in queries.values() for seed, table in tables.items()}
    file, tables = f"queries/{name}.csv" if name else QUERIES, {}
    for seed in seeds:
        run = f"correspondences-seed{seed}"
        if not runs.is_finished(study, run) or name and file not in runs.read_manifest(study, run)["artefacts"]:
            continue
        table = runs.read_table(study, run, file)
        own, asked = ids(table), ids(reference[seed])
        if own == asked or name and set(own) <= set(asked):
            tables[seed] = table
        else:
            warnings.warn(
                f"run '{run}' of study '{study}' judged another split than the models, so the stage-1 "
                f"ensemble of seed {seed} is left out",
                stacklevel=2,
            )
    return {ENSEMBLE: tables} if tables else {}


def zero_shot(study: str, queries: Queries, name: str = "") -> Queries:
    """{(label of a teacher from outside, ZERO_SHOT): {seed: per-query values}}, as the 05 runs have judged them.

    name: of what judges beside the captions; its tables are `zero-shot-<label>/<name>.csv`.
    """
    found: Queries = {}
    ending = f"/{name}.csv" if name else ".csv"
    for seed in sorted({seed for tables in queries.values() for seed in tables}):
        run = f"correspondences-seed{seed}"
        files = runs.read_manifest(study, run)["artefacts"] if runs.is_finished(study, run) else {}
        for file in sorted(file for file in files if file.startswith(f"{ZERO_SHOT}-") and file.endswith(ending)):
            label = file.removeprefix(f"{ZERO_SHOT}-").removesuffix(ending)
            if "/" not in label:
                found.setdefault((label, ZERO_SHOT), {})[seed] = runs.read_table(study, run, file)
    return found


def backbones_of(queries: Queries) -> list[str]:
    """The backbones that were judged, without the stage-1 ensemble, which is none."""
    return list(dict.fromkeys(one for one, setting in queries if setting not in (ENSEMBLE[1], ZERO_SHOT)))


def pooled_queries(queries: Queries) -> Queries:
    """{(POOLED, setting): {seed: per-query values averaged over backbones}} of settings that every backbone has.

    Of the seeds that every backbone has, and of the measures that all know; {} for a single backbone.
    """
    backbones, pooled = backbones_of(queries), {}
    for setting in setting_order(setting for _, setting in queries):
        parts = [queries[backbone, setting] for backbone in backbones if (backbone, setting) in queries]
        if len(parts) < 2 or len(parts) < len(backbones):
            continue
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        if seeds:
            pooled[POOLED, setting] = {seed: _mean_of_tables([part[seed] for part in parts]) for seed in seeds}
    return pooled


def _mean_of_tables(tables: list[pd.DataFrame]) -> pd.DataFrame:
    keys = [name for name in ("caption_id", "clip_id", "clip") if name in tables[0]]
    if any(ids(table) != ids(tables[0]) for table in tables):
        raise ValueError("backbones were judged on different captions, so they have no mean; run the study again")
    shared = [name for name in tables[0] if name not in keys and all(name in table for table in tables)]
    means = np.mean([table[shared].to_numpy(np.float64) for table in tables], axis=0)
    return pd.concat([tables[0][keys], pd.DataFrame(means, columns=shared)], axis=1)
