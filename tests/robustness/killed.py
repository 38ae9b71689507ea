"""A study in miniature, for tests that kill it: corpus, stage 1, estimate, stage 2, figures. Marks how far it is."""

import os
from pathlib import Path

STAGES = ("corpus", "stage 1", "estimate", "stage 2", "figures", "done")
SIZES = {"pretraining": 16, "development": 24, "validation": 8, "evaluation": 8}
COMMON = {"study": "tiny", "epochs": 3, "batch_clips": 8, "captions_per_clip": 5}
RESULTS = ("stage1-atst_tiny-seed1", "self-atst_tiny-seed1")


def study(folder):
    """Run what is not finished yet; the same call again goes on where a killed one was."""
    os.environ.update(CORRLIB_RUNS=f"{folder}/runs", CORRLIB_DATA=f"{folder}/data")
    import torch

    from corrlib import figures, soundscapes
    from corrlib.reports import queries, results
    from corrlib.study import runs
    from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check

    torch.set_num_threads(1)
    folder = Path(folder)
    folder.mkdir(exist_ok=True)

    def mark(stage):
        (folder / "stage").write_text(stage)

    mark("corpus")
    soundscapes.write_corpus(folder / "corpus", 1, SIZES, ambiguity=0.5, workers=1)
    data = str(folder / "corpus")
    one, two = RESULTS
    mark("stage 1")
    if not runs.is_finished("tiny", one):
        _train(
            check(
                StageOneParameters,
                {**COMMON, "data": data, "run": one, "pretraining_epochs": 1, "backbone": "atst_tiny"},
            )
        )
    mark("estimate")
    _estimate(one, folder / "estimate.safetensors")
    mark("stage 2")
    if not runs.is_finished("tiny", two):
        _train(check(StageTwoParameters, {**COMMON, "data": data, "run": two, "student": one, "target": "self"}))
    mark("figures")
    table = results.summarise(queries.load("tiny", runs.gather("tiny")), 50)
    figures.save(figures.results(table, {}), folder / "figures", "results", table)
    mark("done")


def _train(p):
    from corrlib.corpora.splits import open_corpora
    from corrlib.models.build import build_encoder, rebuild_encoder
    from corrlib.study import runs
    from corrlib.training import stages

    run = runs.Run(p, "02_stage1_atst")
    corpora = open_corpora(p)
    if hasattr(p, "student"):
        encoder = rebuild_encoder(p.study, p.student)
        stages.train_stage_two(run, corpora, encoder)
        stages.report(run, corpora, encoder, "self")
    else:
        encoder = build_encoder(p, corpora)
        stages.pretrain_backbone(run, corpora, encoder.backbone)
        stages.train_stage_one(run, corpora, encoder)
        stages.report(run, corpora, encoder, "stage1")


def _estimate(run, path):
    """The most probable clips of every training caption, written as teachers' estimates are."""
    from corrlib.correspondence import top_correspondences
    from corrlib.evaluation.embeddings import load_embeddings, save_embeddings

    clips, captions = load_embeddings("tiny", run, "development")
    save_embeddings(path, {"development": top_correspondences([clips], [captions], 0.05, 5)})


def outcome(folder):
    """Everything that must be the same: {name: content}."""
    import pandas as pd

    folder, found = Path(folder), {}
    for run in RESULTS:
        for name in ("metrics.json", "queries.csv", "model.safetensors", "embeddings.safetensors"):
            found[run, name] = (folder / "runs" / "tiny" / run / name).read_bytes()
        log = pd.read_csv(folder / "runs" / "tiny" / run / "log.csv").drop(columns="seconds")
        found[run, "log"] = log.to_csv()
    for path in sorted(p for place in ("corpus", "figures") for p in (folder / place).rglob("*") if p.is_file()):
        if "cache" not in path.parts and path.suffix != ".lock":  # which says who made it
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    found["estimate"] = (folder / "estimate.safetensors").read_bytes()
    return found
