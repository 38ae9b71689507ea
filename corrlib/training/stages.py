"""What a training notebook does, step by step: open the corpora, build the encoder, train, report."""

from functools import partial

import torch

from corrlib import soundscapes
from corrlib.correspondence.targets import annotated, build_target
from corrlib.correspondence.teachers import target_quality, teacher_embeddings
from corrlib.evaluation.embeddings import load_embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed, judge
from corrlib.evaluation.metrics import summarise
from corrlib.evaluation.relevance import judge_relevance, load_relevance
from corrlib.models import distributed
from corrlib.models.build import save_model, stage_one_of
from corrlib.study import runs
from corrlib.training.pretrain import Pretrained, pretrain
from corrlib.training.trainer import Trainer


def pretrain_backbone(run, corpora, backbone):
    """Tagging of the pretraining split; returns the losses, or [] where published weights make it needless.

    What was pretrained once on the same clips is kept and found again (as a published checkpoint would be).
    """
    p = run.parameters
    if p.weights or not p.pretraining_epochs:
        return []
    _, _, tags = soundscapes.load_tags(corpora.folder, "pretraining", attributes=True)
    recipe = {
        name: getattr(p, name)
        for name in ("backbone", "seed", "pretraining_epochs", "pretraining_learning_rate", "pretraining_batch_clips")
    }
    kept = Pretrained(backbone, recipe, corpora.corpus("pretraining").clips, tags)
    losses = kept.load(backbone)
    if losses is None:
        audio = corpora.audio("pretraining", backbone)
        losses = pretrain(
            backbone, audio, tags, p.pretraining_epochs, p.pretraining_learning_rate, p.seed, p.pretraining_batch_clips
        )
        kept.save(backbone, losses)
    return losses


def train_stage_one(run, corpora, encoder):
    """Contrastive training on annotated pairs; returns the log, one row an epoch."""
    return _train(run, corpora, encoder, annotated(), {})


def stage_two_target(run, corpora):
    """What the run is trained towards: a function of a batch (see corrlib.correspondence.targets)."""
    p = run.parameters
    truth = corpora.truth("development") if p.target == "true" else None
    validation = partial(load_embeddings, p.study, split="validation"), corpora.items("validation")
    return build_target(
        p, corpora.items("development"), lambda name: teacher_embeddings(p.study, name, corpora), truth, validation
    )


def train_stage_two(run, corpora, encoder, target=None):
    """Training towards the run's target, which is built where none is given; returns the log, one row an epoch."""
    p = run.parameters
    weights = {"w_sup": 1.0, "w_dist": 0.0} if p.target == "annotated" else {"w_sup": p.w_sup, "w_dist": p.w_dist}
    target = target or stage_two_target(run, corpora)
    if corpora.name == "soundscapes":
        quality = target_quality(target, corpora, **weights)
        if distributed.rank() == 0:
            run.write_json("target.json", quality)
    return _train(run, corpora, encoder, target, weights)


def _train(run, corpora, encoder, target, weights):
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
        **weights,
    )
    return trainer.run_all()


def report(run, corpora, encoder, setting):
    """Embed the splits once, judge the held-out one, write model, embeddings and metrics; finishes the run."""
    split, p = run.parameters.evaluate_on, run.parameters
    splits = ["development"] if setting == "stage1" else []  # of a teacher; others embed it when they become one
    embeddings = {
        s: embed(
            encoder, corpora.audio(s, encoder.backbone), corpora.items(s), precision=p.precision, workers=p.workers
        )
        for s in dict.fromkeys((*splits, "validation", split))
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
        development_fingerprint=corpora.fingerprint("development"),
        captions_cut=encoder.text.cut_captions,
        captions_seen=encoder.text.seen_captions,
    )
    return metrics


@torch.no_grad()
def judge_beyond(run, corpus, encoder, clips):
    """{kind: metrics} by the relevance that the run names (multi-positive or graded), and its per-query table."""
    beyond = load_relevance(run.parameters.relevance, corpus)
    captions = torch.cat(
        [
            encoder.eval().embed_captions(beyond.texts[i : i + 256]).float().cpu()
            for i in range(0, len(beyond.texts), 256)
        ]
    )
    table = judge_relevance(clips @ captions.T, beyond)
    run.write_table(f"queries-{beyond.kind}.csv", table)
    return {beyond.kind: summarise(table) if "rank" in table else table.mean().to_dict()}


def setting_of(parameters):
    """The name under which a stage-2 run is compared: its target, or `continued` for annotated pairs."""
    return "continued" if parameters.target == "annotated" else parameters.target
