"""Teachers of a run: their embeddings of its training split, and how near a target comes to the truth."""

import torch

from corrlib.corpora.batches import Batch
from corrlib.correspondence.estimate import agreement, probability_mass
from corrlib.evaluation.embeddings import load_embeddings, save_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.models.build import rebuild_encoder
from corrlib.study import runs


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
        found = embed(
            encoder,
            audio,
            corpora.items("development"),
            precision=corpora.parameters.precision,
            workers=corpora.parameters.workers,
        )
        save_embeddings(path, {"development": found})
    return load_embeddings(study, name, "development", path.name)


def target_quality(target, corpora, w_sup, w_dist, clips=256):
    """How near a target comes to the truth of the built-in corpus, on some training clips and all their captions.

    The target of the whole loss: annotated pairs and estimate, mixed by their weights. Returns `probability_mass` and
    what `agreement` says of the pairs that are not annotated (see corrlib.correspondence.estimate).
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
