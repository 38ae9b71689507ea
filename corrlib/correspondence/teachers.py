"""Teachers of a run: their embeddings of its training split, and how near a target comes to the truth."""

from typing import Any

import torch

from corrlib.corpora.batches import Batch
from corrlib.corpora.splits import Corpora
from corrlib.correspondence.quality import agreement, probability_mass
from corrlib.correspondence.targets import Target
from corrlib.evaluation.embeddings import Embeddings, load_embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.models.build import rebuild_encoder
from corrlib.study import runs

QUALITY_CLIPS = 256  # training clips, with all their captions, on which a target is compared with the truth


def teacher_embeddings(study: str, name: str, corpora: Corpora) -> Embeddings:
    """A teacher's embeddings of this run's training split (clip_embeddings (N, E), caption_embeddings (C, E)).

    study, name: of the teacher's run.

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
        embeddings = embed(
            encoder,
            audio,
            corpora.items("development"),
            precision=corpora.parameters.precision,
            workers=corpora.parameters.workers,
        )
        save_embeddings(path, {"development": embeddings})
    return load_embeddings(study, name, "development", path.name)


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
