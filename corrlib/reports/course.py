"""The course of training, from the logs of runs: what becomes of unannotated matches, and how far stage 1 overfits."""

import json

import pandas as pd

from corrlib.figures.course import MATCH
from corrlib.reports.queries import one_run_each
from corrlib.study import runs


def watched(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """course.csv: what became of the watched pairs of the training split, epoch by epoch.

    Columns setting, backbone, seed, epoch, kind, similarity, rank (see corrlib.evaluation.watched). A stage-2 setting
    begins at epoch 0 with what its student was when stage 1 was over. No rows where no run watched any.
    """
    chosen, starts, parts = one_run_each(study, training_runs), {}, []
    for setting, backbone, seed, run in chosen[["setting", "backbone", "seed", "run"]].itertuples(index=False):
        log = runs.read_table(study, run, "log.csv")
        if f"{MATCH} rank" not in log:
            continue
        rows = _of_kinds(log)
        if setting == "stage1":
            starts[backbone, seed] = rows[rows["epoch"] == runs.kept_epoch_of(study, run)].assign(epoch=0)
        elif (backbone, seed) in starts:
            rows = pd.concat([starts[backbone, seed], rows])
        parts.append(rows.assign(setting=setting, backbone=backbone, seed=seed))
    columns = ["setting", "backbone", "seed", "epoch", "kind", "similarity", "rank"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _of_kinds(log: pd.DataFrame) -> pd.DataFrame:
    kinds = [name.removesuffix(" rank") for name in log.columns if name.endswith(" rank")]
    return pd.concat(
        [
            log[["epoch", f"{kind} similarity", f"{kind} rank"]]
            .set_axis(["epoch", "similarity", "rank"], axis=1)
            .assign(kind=kind)
            for kind in kinds
        ]
    )


def overfit_of(study: str, run: str) -> dict[str, float]:
    """What a stage-1 run has measured of its overfitting (see corrlib.evaluation.overfit)."""
    return json.loads(runs.artefact(study, run, "overfit.json").read_text(encoding="utf-8"))


def overfit(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """overfit.csv: how far each stage-1 run went, in its own log and by the overfit index.

    Columns backbone, seed, epochs, kept epoch, within noise (the first epoch whose validation mAP@10 is within one
    standard error, over clips, of the best one's), training mAP@10, validation mAP@10 and overfit index (see
    corrlib.evaluation.overfit).
    """
    rows = []
    own = training_runs[training_runs["setting"] == "stage1"]
    for run, backbone, seed in own[["run", "backbone", "seed"]].itertuples(index=False):
        log = runs.read_table(study, run, "log.csv")
        measured = overfit_of(study, run)
        scores = log["validation mAP@10"]
        rows.append(
            {
                "backbone": backbone,
                "seed": seed,
                "epochs": len(log),
                "kept epoch": runs.kept_epoch_of(study, run),
                "within noise": int(
                    log["epoch"][scores >= scores.max() - measured["validation standard error"]].iloc[0]
                ),
                **{name: measured[name] for name in ("training mAP@10", "validation mAP@10", "overfit index")},
            }
        )
    return pd.DataFrame(rows)
