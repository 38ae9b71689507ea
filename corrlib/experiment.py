"""What a training notebook does, step by step: open the corpora, build the encoder, train, report."""
import fcntl
import re
from functools import cache, partial
from pathlib import Path

import torch

from corrlib import distributed, runs, soundscapes
from corrlib.backbones import build_backbone
from corrlib.batches import Batch, Items, LogMelAudio, WaveformAudio
from corrlib.clips import load_corpus
from corrlib.clips.parts import swap_captions, take
from corrlib.correspondence import agreement, probability_mass
from corrlib.decoded import DecodedAudio
from corrlib.dual_encoder import DualEncoder
from corrlib.evaluate import embed, judge, load_embeddings, save_embeddings
from corrlib.metrics import summarise
from corrlib.parameters import StageOneParameters
from corrlib.pretrain import Pretrained, pretrain
from corrlib.relevance import judge_relevance, load_relevance
from corrlib.targets import annotated, build_target
from corrlib.text import build_text_encoder, load_text_encoder
from corrlib.train import Trainer, load_weights, save_model

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Corpora:
    """The splits of a run's corpus, each opened once: tables, items, audio, and the truth where it is known.

    Of the training split as much as `development_share` says, with `swapped_captions`.
    """

    def __init__(self, parameters):
        self.name, self.folder, self.parameters = parameters.corpus, parameters.data, parameters
        torch.set_num_threads(getattr(parameters, "threads", 1))
        _compose_default(self.name, self.folder)
        self._whole, self._part = cache(self._load), cache(self._take)
        self.items, self.truth = cache(self._items), cache(self._truth)

    def _load(self, split):
        return load_corpus(self.name, self.folder, split, self.parameters.tolerance)

    def _take(self, split):
        """(corpus, rows of its clips in the whole split, rows of its captions' texts there; None: all, in order)."""
        corpus, clips, texts = self._whole(split), None, None
        share, swapped = (getattr(self.parameters, n, None) for n in ("development_share", "swapped_captions"))
        if split == "development" and share and share < 1:
            corpus, clips, texts = take(corpus, share, self.parameters.seed)
        if split == "development" and swapped:
            corpus, places = swap_captions(corpus, swapped, self.parameters.seed)
            texts = places if texts is None else texts[places]
        return corpus, clips, texts

    def corpus(self, split):
        """The Corpus of a split, as it is used."""
        return self._part(split)[0]

    def _items(self, split):
        return Items(self.corpus(split))

    def _truth(self, split):
        return self.truth_of(split, slice(None), slice(None)) if self.name == "soundscapes" else None

    def truth_of(self, split, clips, captions):
        """True correspondence float32 of some clips and captions (row numbers of `corpus(split)`)."""
        _, rows, texts = self._part(split)
        return soundscapes.load_truth(self.folder, split, clips if rows is None else rows[clips],
                                      captions if texts is None else texts[captions])

    def audio(self, split, backbone):
        """What gives a batch its audio: cached log-mels or decoded waveforms, as the parameters say."""
        if self.parameters.cache_log_mel:
            return LogMelAudio(self._whole(split), backbone, Path(self.folder) / "cache", rows=self._part(split)[1])
        rate, folder = backbone.sample_rate_hz, Path(self.folder) / "cache"
        store = DecodedAudio(self.corpus(split), rate, folder) if self.parameters.cache_audio else None
        return WaveformAudio(self.corpus(split), rate, self.parameters.clip_seconds, store)


def _compose_default(name, folder):
    """Let a notebook run by itself: the built-in corpus of a seed is composed where its default folder holds none yet."""
    default, folder = re.fullmatch(r"data/builtin/seed-(\d+)", str(folder)), Path(folder)
    if name != "soundscapes" or not default or (folder / "corpus.json").is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:         # two notebooks want it: one composes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "corpus.json").is_file():
            print(f"composing the built-in corpus in {folder} (about a minute, once)", flush=True)
            soundscapes.write_corpus(folder, int(default.group(1)))


def build_encoder(parameters, corpora):
    """The stage-1 dual encoder: published weights where the parameters name them, else seeded random ones."""
    torch.manual_seed(parameters.seed)
    backbone = build_backbone(parameters.backbone)
    if parameters.initialisation:
        torch.manual_seed(parameters.draw_seed())
    if parameters.weights:
        backbone.load_published(parameters.weights)
    text = build_text_encoder(parameters.text_encoder, corpora.items("development").texts, parameters.text_weights,
                              parameters.text_dropout, max_tokens=parameters.max_tokens,
                              clean_captions=parameters.clean_captions)
    return DualEncoder(backbone, text, parameters.embedding_size, parameters.whole_segments).to(DEVICE)


def rebuild_encoder(study, run):
    """The dual encoder of a finished stage-1 or stage-2 run, with its weights."""
    root = stage_one_of(study, run)
    parameters = runs.read_parameters(study, root, StageOneParameters)
    text = load_text_encoder(runs.folder_of(study, root) / "text", max_tokens=parameters.max_tokens,
                             clean_captions=parameters.clean_captions)
    backbone = build_backbone(parameters.backbone)
    encoder = DualEncoder(backbone, text, parameters.embedding_size, parameters.whole_segments).to(DEVICE)
    load_weights(encoder, study, run)
    return encoder


def stage_one_of(study, run):
    """The stage-1 run at which a chain of students begins."""
    parameters = runs.read_manifest(study, run)["parameters"]
    return stage_one_of(study, parameters["student"]) if "student" in parameters else run


def pretrain_backbone(run, corpora, backbone):
    """Tagging of the pretraining split; returns the losses, or [] where published weights make it needless.

    What was pretrained once on the same clips is kept and found again (as a published checkpoint would be).
    """
    p = run.parameters
    if p.weights or not p.pretraining_epochs or run.checkpoints():
        return []
    _, _, tags = soundscapes.load_tags(corpora.folder, "pretraining", attributes=True)
    recipe = {name: getattr(p, name) for name in ("backbone", "seed", "pretraining_epochs", "pretraining_learning_rate",
                                                  "pretraining_batch_clips")}
    kept = Pretrained(backbone, recipe, corpora.corpus("pretraining").clips, tags)
    losses = kept.load(backbone)
    if losses is None:
        audio = corpora.audio("pretraining", backbone)
        losses = pretrain(backbone, audio, tags, p.pretraining_epochs, p.pretraining_learning_rate, p.seed,
                          p.pretraining_batch_clips)
        kept.save(backbone, losses)
    return losses


def train_stage_one(run, corpora, encoder):
    """Contrastive training on annotated pairs; returns the log, one row an epoch."""
    return _train(run, corpora, encoder, annotated(), {})


def train_stage_two(run, corpora, encoder):
    """Training towards the run's target; returns the log, one row an epoch."""
    p = run.parameters
    truth = corpora.truth("development") if p.target == "true" else None
    weights = {"w_sup": 1.0, "w_dist": 0.0} if p.target == "annotated" else {"w_sup": p.w_sup, "w_dist": p.w_dist}
    validation = partial(load_embeddings, p.study, split="validation"), corpora.items("validation")
    target = build_target(p, corpora.items("development"), lambda name: teacher_embeddings(p.study, name, corpora), truth,
                          validation)
    if corpora.name == "soundscapes":
        quality = target_quality(target, corpora, **weights)
        if distributed.rank() == 0:
            run.write_json("target.json", quality)
    return _train(run, corpora, encoder, target, weights)


def target_quality(target, corpora, w_sup, w_dist, clips=256):
    """How near a target comes to the truth of the built-in corpus, on some training clips and all their captions.

    The target of the whole loss: annotated pairs and estimate, mixed by their weights. Returns `probability_mass` and
    what `agreement` says of the pairs that are not annotated (see corrlib.correspondence).
    """
    items = corpora.items("development")
    chosen = torch.randperm(items.clips, generator=torch.Generator().manual_seed(0))[:clips].sort().values
    captions = torch.isin(items.clip_of_caption, chosen).nonzero()[:, 0]
    batch = Batch(chosen, captions, items.annotated(chosen, captions))
    mixed = w_sup * batch.annotated / batch.annotated.sum(0)
    estimated = target(batch)
    if estimated is not None:
        mixed = mixed + w_dist * estimated[0]
    truth = corpora.truth_of("development", chosen.numpy(), captions.numpy())
    mixed = (mixed / mixed.sum(0)).numpy()
    found = agreement(mixed, truth, batch.annotated)
    return found | probability_mass(mixed, truth, batch.annotated)


def teacher_embeddings(study, name, corpora):
    """A teacher's embeddings of this run's training split (clips (N, E), captions (C, E)).

    Stored ones where the teacher is a stage-1 model trained on the same split; else (stage 1 on merged corpora, stage 2
    on one; a student as teacher) they are computed once and kept in the teacher's folder.
    """
    fingerprint = corpora.corpus("development").fingerprint()
    manifest = runs.read_manifest(study, name)
    if manifest["setting"] == "stage1" and manifest["development_fingerprint"] == fingerprint:
        return load_embeddings(study, name, "development")
    path = runs.folder_of(study, name) / f"embeddings-{fingerprint}.safetensors"
    if not path.is_file():
        print(f"embedding the training split with teacher {name}", flush=True)
        encoder = rebuild_encoder(study, name)
        audio = corpora.audio("development", encoder.backbone)
        found = embed(encoder, audio, corpora.items("development"), precision=corpora.parameters.precision,
                      workers=corpora.parameters.workers)
        save_embeddings(path, {"development": found})
    return load_embeddings(study, name, "development", path.name)


def _train(run, corpora, encoder, target, weights):
    p = run.parameters
    audio = {split: corpora.audio(split, encoder.backbone) for split in ("development", "validation")}
    if p.processes > 1 and not distributed.active():         # they end with the last checkpoint, which is resumed here
        distributed.launch(p.processes, p.study, p.run_name())
    trainer = Trainer(encoder, audio["development"], corpora.items("development"), target, p,
                      (audio["validation"], corpora.items("validation")), run, **weights)
    return trainer.run_all()


def report(run, corpora, encoder, setting):
    """Embed the splits once, judge the held-out one, write model, embeddings and metrics; finishes the run."""
    split, p = run.parameters.evaluate_on, run.parameters
    splits = ["development"] if setting == "stage1" else []      # of a teacher; others embed it when they become one
    embeddings = {s: embed(encoder, corpora.audio(s, encoder.backbone), corpora.items(s), precision=p.precision,
                           workers=p.workers) for s in dict.fromkeys((*splits, "validation", split))}
    metrics, queries = judge(*embeddings[split], corpora.items(split), corpora.truth(split))
    if p.relevance:
        metrics |= judge_beyond(run, corpora.corpus(split), encoder, embeddings[split][0])
    save_model(run, encoder)
    save_embeddings(run.path("embeddings.safetensors"), embeddings)
    run.write_table("queries.csv", queries)
    run.write_json("metrics.json", metrics)
    backbone = getattr(p, "backbone", None) or runs.read_manifest(p.study, stage_one_of(p.study, p.student))["backbone"]
    run.finish(setting=setting, backbone=backbone, data_fingerprint=corpora.corpus(split).fingerprint(),
               development_fingerprint=corpora.corpus("development").fingerprint(),
               captions_cut=encoder.text.cut_captions, captions_seen=encoder.text.seen_captions)
    return metrics


@torch.no_grad()
def judge_beyond(run, corpus, encoder, clips):
    """{kind: metrics} by the relevance that the run names (multi-positive or graded), and its per-query table."""
    beyond = load_relevance(run.parameters.relevance, corpus)
    captions = torch.cat([encoder.eval().embed_captions(beyond.texts[i:i + 256]).float().cpu()
                          for i in range(0, len(beyond.texts), 256)])
    table = judge_relevance(clips @ captions.T, beyond)
    run.write_table(f"queries-{beyond.kind}.csv", table)
    return {beyond.kind: summarise(table) if "rank" in table else table.mean().to_dict()}


def setting_of(parameters):
    """The name under which a stage-2 run is compared: its target, or `continued` for annotated pairs."""
    return "continued" if parameters.target == "annotated" else parameters.target
