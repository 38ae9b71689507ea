"""What a training notebook does, step by step: open the corpora, build the encoder, train, report."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from corrlib import soundscapes
from corrlib.corpora.audio import ClipError
from corrlib.corpora.batches import AudioSource
from corrlib.corpora.splits import Corpora, open_tagged
from corrlib.correspondence.targets import annotated, build_target
from corrlib.correspondence.teachers import held_out_embeddings, target_quality, teacher_embeddings
from corrlib.evaluation.embeddings import Embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed, judge, judge_clips
from corrlib.evaluation.overfit import overfit_index
from corrlib.evaluation.relevance import by_name, judge_relevance, load_relevances, summary
from corrlib.evaluation.watched import WatchedPairs
from corrlib.files import derived, read_tensors, replace_with, without_apostrophe
from corrlib.models import distributed
from corrlib.models.backbone import Backbone
from corrlib.models.build import save_model, stage_one_of
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.features import audio_of, remember_captions
from corrlib.study import runs
from corrlib.study.backbones import HUB, slug
from corrlib.study.parameters import TrainingParameters
from corrlib.training.left_out import FILE, LeftOut
from corrlib.training.pretrain import load_pretrained, pretrain, pretrained_path, save_pretrained
from corrlib.training.trainer import Target, Trainer

LAST_EPOCH = "last_epoch.safetensors"  # until the run is reported


def pretrain_backbone(run: runs.RunFolder, corpora: Corpora, backbone: Backbone) -> list[float]:
    """Tagging of the pretraining split; returns the losses, or [] where published weights make it needless.

    For a corpus without one, clips are composed (see `open_tagged`). What was pretrained once on the same clips is kept
    and found again (as a published checkpoint would be).
    """
    p = run.parameters
    if p.weights or not p.pretraining_epochs or p.backbone.startswith(HUB):
        return []
    corpora = open_tagged(corpora)
    _, _, tags = soundscapes.load_tags(corpora.folder, "pretraining", attributes=True)
    recipe = {
        name: getattr(p, name)
        for name in (
            "backbone",
            "seed",
            "pretraining_epochs",
            "pretraining_learning_rate",
            "pretraining_batch_clips",
        )
    } | {"cache_log_mel": corpora.keeps_log_mels("pretraining", backbone)}
    heard = corpora.fingerprint("pretraining")
    path = pretrained_path(backbone, recipe, heard, tags)

    def train(part: Path) -> None:
        audio = corpora.audio("pretraining", backbone)
        frozen = [parameter for parameter in backbone.parameters() if not parameter.requires_grad]
        backbone.requires_grad_(True)  # whatever of it is trained later
        losses = pretrain(
            backbone, audio, tags, p.pretraining_epochs, p.pretraining_learning_rate, p.seed, p.pretraining_batch_clips
        )
        for parameter in frozen:
            parameter.requires_grad_(False)
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
    held_out = partial(held_out_embeddings, p.study, corpora=corpora, split="validation")
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
    if p.relevance:  # what is wrong with it shows before days of training
        load_relevances(p.relevance, corpora.corpus(p.evaluate_on))
    audio = _audio(run, corpora, encoder)
    remember_captions(encoder, corpora, audio)
    if p.processes > 1 and not distributed.active():  # they end with the last checkpoint, which is resumed here
        distributed.launch(p.processes, p.study, p.run_name())
    items = corpora.items("development")
    watched = None
    if p.watched_clips:
        truth = partial(corpora.truth_of, "development")
        watched = WatchedPairs(audio["development"], items, truth, p.watched_clips, p.seed)
    trainer = Trainer(
        encoder,
        audio["development"],
        items,
        target,
        p,
        (audio["validation"], corpora.items("validation")),
        run,
        w_sup=w_sup,
        w_dist=w_dist,
        validation_truth=corpora.truth("validation"),
        watched=watched,
        left_out=LeftOut(corpora.corpus("development"), corpora.whole("development"), p.tolerance),
    )
    log = trainer.run_all()
    if distributed.process_index() == 0:
        _keep_last_epoch(run, trainer.last_state)
    return log


def _audio(run: runs.RunFolder, corpora: Corpora, encoder: DualEncoder) -> dict[str, AudioSource]:
    """What gives the audio of both splits. A clip that cannot be read as they are cached is left out of the corpora;
    of a student, whose targets are of these very clips, only of the next run.
    """
    while True:
        try:
            return {split: audio_of(encoder, corpora, split) for split in ("development", "validation")}
        except ClipError as error:
            if not corpora.leave_out([error.path]) or "student" in type(run.parameters).model_fields:
                raise
            print(f"{error}; it is left out", flush=True)


def _keep_last_epoch(run: runs.RunFolder, state: dict[str, Tensor] | None) -> None:
    """Leave the last epoch's weights for `report`, where another epoch's are the run's model."""
    path = run.path(LAST_EPOCH)
    path.unlink(missing_ok=True)
    if state is not None:
        replace_with(path, lambda part: save_file({name: value.contiguous() for name, value in state.items()}, part))


def report(run: runs.Run, corpora: Corpora, encoder: DualEncoder, setting: str) -> dict[str, Any]:
    """Embed the splits once, judge the held-out one, write model, embeddings and metrics; finishes the run.

    setting: under which the run is compared with others. The last epoch is judged beside the one that was kept. Of
    stage 1 the overfit index is written, too. Clips that training could not read are left out of the splits here, as
    they are of every later run. Returns {relevance: {metric: value}}.
    """
    left = run.folder / FILE
    if left.is_file():
        corpora.leave_out(pd.read_csv(left, dtype=str)["path"].map(without_apostrophe))
    while True:
        try:
            return _report(run, corpora, encoder, setting)
        except ClipError as error:
            if not corpora.leave_out([error.path]):
                raise
            print(f"{error}; it is left out", flush=True)


def _report(run: runs.Run, corpora: Corpora, encoder: DualEncoder, setting: str) -> dict[str, Any]:
    split, p = run.parameters.evaluate_on, run.parameters
    splits = ["development"] if setting == "stage1" else []  # of a teacher; others embed it when they become one
    remember_captions(encoder, corpora, dict.fromkeys((*splits, "validation", split)))
    embeddings = {name: _embed(p, corpora, encoder, name) for name in dict.fromkeys((*splits, "validation", split))}
    metrics, queries = judge(*embeddings[split], corpora.items(split), corpora.truth(split))
    last_metrics, last_queries = _judge_last_epoch(run, corpora, encoder, split) or (metrics, queries)
    run.write_table("queries-last_epoch.csv", last_queries)
    run.write_json("last_epoch.json", last_metrics)
    if setting == "stage1":
        learnt, held_out = ((embeddings[name], corpora.items(name)) for name in ("development", "validation"))
        run.write_json("overfit.json", overfit_index(*learnt, *held_out, seed=p.seed))
    metrics |= judge_beyond(run, corpora, split, encoder, embeddings[split][0])
    save_model(run, encoder)
    save_embeddings(run.path("embeddings.safetensors"), embeddings)
    run.write_table("queries.csv", queries)
    run.write_table("queries/clip-to-caption.csv", judge_clips(*embeddings[split], corpora.items(split)))
    run.write_json("metrics.json", metrics)
    if setting == "stage1":
        backbone = p.member or slug(p.backbone)
    else:
        backbone = runs.read_manifest(p.study, stage_one_of(p.study, p.student))["backbone"]
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


def _embed(parameters: TrainingParameters, corpora: Corpora, encoder: DualEncoder, split: str) -> Embeddings:
    audio, items = audio_of(encoder, corpora, split), corpora.items(split)
    return embed(encoder, audio, items, precision=parameters.precision, workers=parameters.workers)


def _judge_last_epoch(
    run: runs.Run, corpora: Corpora, encoder: DualEncoder, split: str
) -> tuple[dict[str, dict[str, float]], pd.DataFrame] | None:
    """As `judge`, of the last epoch's weights; None where that epoch was kept. `encoder` is left as it was."""
    path = run.folder / LAST_EPOCH
    if not path.is_file():
        return None
    kept = {name: value.detach().clone() for name, value in encoder.trained_state().items()}
    encoder.load_trained_state(read_tensors(path))
    embeddings = _embed(run.parameters, corpora, encoder, split)
    encoder.load_trained_state(kept)
    path.unlink()
    return judge(*embeddings, corpora.items(split), corpora.truth(split))


@torch.no_grad()
def judge_beyond(
    run: runs.Run, corpora: Corpora, split: str, encoder: DualEncoder, clip_embeddings: Tensor
) -> dict[str, dict[str, float]]:
    """{name: metrics} by every relevance that the run names; `queries/<name>.csv` has a row a query.

    clip_embeddings (clips, E) of the split, unit length. Queries need not be captions of the corpus: they are embedded.
    """
    metrics, corpus = {}, corpora.corpus(split)
    for name, beyond in load_relevances(run.parameters.relevance, corpus).items():
        parts = [beyond.texts[i : i + 256] for i in range(0, len(beyond.texts), 256)]
        query_embeddings = torch.cat([encoder.eval().embed_captions(part).float().cpu() for part in parts])
        table = judge_relevance(clip_embeddings @ query_embeddings.T, beyond)
        run.write_table(f"queries/{name}.csv", by_name(name, table, beyond.queries(corpus)))
        metrics[name] = summary(table)
    return metrics
