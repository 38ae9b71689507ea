"""What a training notebook does, step by step: open the corpora, build the encoder, train, report."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from corrlib import soundscapes
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.splits import Corpora
from corrlib.correspondence.targets import annotated, build_target
from corrlib.correspondence.teachers import target_quality, teacher_embeddings
from corrlib.evaluation.embeddings import load_embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed, judge
from corrlib.evaluation.metrics import summarise
from corrlib.evaluation.relevance import judge_relevance, load_relevance
from corrlib.files import derived
from corrlib.models import distributed
from corrlib.models.backbone import Backbone
from corrlib.models.build import save_model, stage_one_of
from corrlib.models.dual_encoder import DualEncoder
from corrlib.study import runs
from corrlib.study.parameters import StageTwoParameters
from corrlib.training.pretrain import load_pretrained, pretrain, pretrained_path, save_pretrained
from corrlib.training.trainer import Target, Trainer


def pretrain_backbone(run: runs.RunFolder, corpora: Corpora, backbone: Backbone) -> list[float]:
    """Tagging of the pretraining split; returns the losses, or [] where published weights make it needless.

    What was pretrained once on the same clips is kept and found again (as a published checkpoint would be).
    """
    p = run.parameters
    if p.weights or not p.pretraining_epochs:
        return []
    _, _, tags = soundscapes.load_tags(corpora.folder, "pretraining", attributes=True)
    recipe = {
        name: getattr(p, name)
        for name in (
            "backbone",
            "seed",
            "pretraining_epochs",
            "pretraining_learning_rate",
            "pretraining_batch_clips",
            "cache_log_mel",
        )
    }
    heard = corpora.fingerprint("pretraining")
    path = pretrained_path(backbone, recipe, heard, tags)

    def train(part: Path) -> None:
        audio = corpora.audio("pretraining", backbone)
        losses = pretrain(
            backbone, audio, tags, p.pretraining_epochs, p.pretraining_learning_rate, p.seed, p.pretraining_batch_clips
        )
        save_pretrained(part, backbone, losses)

    made = derived(path, train, still=lambda: corpora.fingerprint("pretraining") == heard)
    return load_pretrained(made, backbone)


def train_stage_one(run: runs.RunFolder, corpora: Corpora, encoder: DualEncoder) -> pd.DataFrame:
    """Contrastive training on annotated pairs (paper, section 2.1); returns the log, one row an epoch."""
    return train_towards(annotated(), run, corpora, encoder, w_sup=1.0, w_dist=0.0)


def stage_two_target(run: runs.RunFolder, corpora: Corpora) -> Target:
    """What the run is trained towards: a function of a batch (see corrlib.correspondence.targets)."""
    p = run.parameters
    truth = corpora.truth("development") if p.target == "true" else None
    held_out = partial(load_embeddings, p.study, split="validation", fingerprint=corpora.fingerprint("validation"))
    validation = held_out, corpora.items("validation")
    return build_target(
        p, corpora.items("development"), lambda name: teacher_embeddings(p.study, name, corpora), truth, validation
    )


def train_stage_two(
    run: runs.RunFolder, corpora: Corpora, encoder: DualEncoder, target: Target | None = None
) -> pd.DataFrame:
    """Training towards the run's target (paper, section 2.2), which is built where none is given; returns the log."""
    p = run.parameters
    w_sup, w_dist = (1.0, 0.0) if p.target == "annotated" else (p.w_sup, p.w_dist)
    target = target or stage_two_target(run, corpora)
    if corpora.name == "soundscapes":
        quality = target_quality(target, corpora, w_sup, w_dist)
        if distributed.process_index() == 0:
            run.write_json("target.json", quality)
    return train_towards(target, run, corpora, encoder, w_sup, w_dist)


def train_towards(
    target: Target, run: runs.RunFolder, corpora: Corpora, encoder: DualEncoder, w_sup: float, w_dist: float
) -> pd.DataFrame:
    """The training of both stages, which differ in `target` and the weights of its two losses alone.

    target: of corrlib.correspondence.targets; w_sup, w_dist: see `corrlib.training.losses.stage_loss`. `encoder` is
    left with the weights of the epoch that is best on validation. Returns the log, one row an epoch.
    """
    p = run.parameters
    audio = {split: corpora.audio(split, encoder.backbone) for split in ("development", "validation")}
    if p.processes > 1 and not distributed.active():  # they end with the last checkpoint, which is resumed here
        distributed.launch(p.processes, p.study, p.run_name())
    trainer = Trainer(
        encoder,
        audio["development"],
        corpora.items("development"),
        target,
        p,
        (audio["validation"], corpora.items("validation")),
        run,
        w_sup=w_sup,
        w_dist=w_dist,
    )
    return trainer.run_all()


def report(run: runs.Run, corpora: Corpora, encoder: DualEncoder, setting: str) -> dict[str, Any]:
    """Embed the splits once, judge the held-out one, write model, embeddings and metrics; finishes the run.

    setting: under which the run is compared with others. Returns {relevance: {metric: value}}.
    """
    split, p = run.parameters.evaluate_on, run.parameters
    splits = ["development"] if setting == "stage1" else []  # of a teacher; others embed it when they become one
    embeddings = {
        name: embed(
            encoder,
            corpora.audio(name, encoder.backbone),
            corpora.items(name),
            precision=p.precision,
            workers=p.workers,
        )
        for name in dict.fromkeys((*splits, "validation", split))
    }
    metrics, queries = judge(*embeddings[split], corpora.items(split), corpora.truth(split))
    if p.relevance:
        metrics |= judge_beyond(run, corpora.corpus(split), encoder, embeddings[split][0])
    save_model(run, encoder)
    save_embeddings(run.path("embeddings.safetensors"), embeddings)
    run.write_table("queries.csv", queries)
    run.write_json("metrics.json", metrics)
    backbone = getattr(p, "backbone", None) or runs.read_manifest(p.study, stage_one_of(p.study, p.student))["backbone"]
    run.finish(
        setting=setting,
        backbone=backbone,
        data_fingerprint=corpora.fingerprint(split),
        fingerprints={name: corpora.fingerprint(name) for name in embeddings},
        development_fingerprint=corpora.fingerprint("development"),
        captions_cut=encoder.text.cut_captions,
        captions_seen=encoder.text.seen_captions,
    )
    return metrics


@torch.no_grad()
def judge_beyond(run: runs.Run, corpus: Corpus, encoder: DualEncoder, clip_embeddings: Tensor) -> dict[str, Any]:
    """{kind: metrics} by the relevance that the run names (multi-positive or graded); its per-query table is written.

    clip_embeddings (clips, E) of `corpus`, unit length.
    """
    beyond = load_relevance(run.parameters.relevance, corpus)
    caption_embeddings = torch.cat(
        [
            encoder.eval().embed_captions(beyond.texts[i : i + 256]).float().cpu()
            for i in range(0, len(beyond.texts), 256)
        ]
    )
    table = judge_relevance(clip_embeddings @ caption_embeddings.T, beyond)
    run.write_table(f"queries-{beyond.kind}.csv", table)
    return {beyond.kind: summarise(table) if "rank" in table else table.mean().to_dict()}


def setting_of(parameters: StageTwoParameters) -> str:
    """The name under which a stage-2 run is compared: its target, or `continued` for annotated pairs."""
    return "continued" if parameters.target == "annotated" else parameters.target
