"""Teachers of a run: their embeddings of its training split, and how near a target comes to the truth."""

from pathlib import Path
from typing import Any

import torch

from corrlib.corpora.batches import Batch
from corrlib.corpora.splits import Corpora
from corrlib.correspondence.outside import outside_embeddings
from corrlib.correspondence.quality import agreement, probability_mass
from corrlib.correspondence.targets import Target
from corrlib.evaluation.embeddings import Embeddings, load_embeddings, read_embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.files import derived, digest
from corrlib.models.build import rebuild_encoder
from corrlib.models.features import audio_of
from corrlib.study import runs
from corrlib.study.code import closure_fingerprint
from corrlib.study.outside import is_outside

EMBEDDING = (
    "corrlib.evaluation.evaluate",
    "corrlib.models.build",
    "corrlib.corpora.splits",
)  # the code that stored embeddings depend on

QUALITY_CLIPS = 256  # training clips, with all their captions, on which a target is compared with the truth


def teacher_embeddings(study: str, name: str, corpora: Corpora) -> Embeddings:
    """A teacher's embeddings of this run's training split (clip_embeddings (N, E), caption_embeddings (C, E)).

    study, name: of the teacher's run; or the name of one from outside (see corrlib.correspondence.outside).

    Stored ones where the teacher is a stage-1 model trained on the same split; else (stage 1 on merged corpora, stage 2
    on one; a student as teacher) they are computed once and kept in the teacher's folder, under a name that tells the
    teacher's files, the data, how it is heard, the precision and the code.
    """
    if is_outside(name):
        return outside_embeddings(name, corpora, "development")
    fingerprint = corpora.fingerprint("development")
    manifest = runs.read_manifest(study, name)
    if manifest["setting"] == "stage1" and manifest["development_fingerprint"] == fingerprint:
        return load_embeddings(study, name, "development")
    precision, workers = corpora.parameters.precision, corpora.parameters.workers
    heard = [getattr(corpora.parameters, name) for name in ("clip_seconds", "cache_log_mel", "cache_audio")]
    made_of = [manifest["artefacts"], fingerprint, precision, heard, closure_fingerprint(EMBEDDING)]
    path = runs.folder_of(study, name) / ".derived" / f"embeddings-{digest(made_of)[:16]}.safetensors"

    def embed_and_save(part: Path) -> None:
        print(f"embedding the training split with teacher {name}", flush=True)
        encoder = rebuild_encoder(study, name)
        audio, items = audio_of(encoder, corpora, "development"), corpora.items("development")
        save_embeddings(part, {"development": embed(encoder, audio, items, precision=precision, workers=workers)})

    made = derived(path, embed_and_save, still=lambda: corpora.fingerprint("development") == fingerprint)
    return read_embeddings(made, "development")


def held_out_embeddings(study: str, name: str, corpora: Corpora, split: str) -> Embeddings:
    """A teacher's embeddings of a split that it was not trained on: those its run has stored, or from outside."""
    if is_outside(name):
        return outside_embeddings(name, corpora, split)
    return load_embeddings(study, name, split, corpora.fingerprint(split))


def target_quality(target: Target, corpora: Corpora, w_sup: float, w_dist: float) -> dict[str, Any]:
    """How near a target comes to the truth of the built-in corpus, on some training clips and all their captions.

    The target of the whole loss: annotated pairs and estimate, mixed by their weights. Returns `probability_mass` and
    what `agreement` says of the pairs that are not annotated (see corrlib.correspondence.quality).
    """
    items = corpora.items("development")
    clip_rows = torch.randperm(items.clips, generator=torch.Generator().manual_seed(0))[:QUALITY_CLIPS].sort().values
    caption_rows = torch.isin(items.clip_of_caption, clip_rows).nonzero()[:, 0]
    batch = Batch(clip_rows, caption_rows, items.annotated(clip_rows, caption_rows))
    mixed = w_sup * batch.annotated / batch.annotated.sum(0)
    estimated = target(batch)
    if estimated is not None:
        mixed = mixed + w_dist * estimated[0]
    truth = corpora.truth_of("development", clip_rows.numpy(), caption_rows.numpy())
    mixed = (mixed / mixed.sum(0)).numpy()
    return agreement(mixed, truth, batch.annotated) | probability_mass(mixed, truth, batch.annotated)
