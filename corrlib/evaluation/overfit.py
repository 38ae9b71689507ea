"""How much better a model retrieves what it was trained on than what it was not: the overfit index."""

import torch

from corrlib.corpora.batches import Items
from corrlib.corpora.seeds import derive_seed
from corrlib.evaluation.embeddings import Embeddings
from corrlib.evaluation.evaluate import annotated_relevance, captions_of
from corrlib.evaluation.metrics import per_query, retrieval_metrics

DRAWS = 5


def overfit_index(
    training: Embeddings, training_items: Items, validation: Embeddings, validation_items: Items, seed: int
) -> dict[str, float]:
    """Annotated caption-to-clip mAP@10 of the training split over that of the validation split.

    Both on galleries of the same size, that of the smaller split, as a larger gallery is harder: a split that is
    larger is drawn from DRAWS times, by `seed`, whole clips with all their captions, and the mean counts. training,
    validation: (clip_embeddings (N, E), caption_embeddings (C, E)), unit length, in the order of their Items.

    Returns {training clips, gallery, training mAP@10, validation mAP@10, overfit index, validation standard error}: the
    index is about 1 before anything is learnt by heart, infinite where nothing of the validation split is found; the
    standard error is that of the mAP@10 of the whole validation split, over its clips.
    """
    gallery = min(training_items.clips, validation_items.clips)
    learnt = _mean_score(training, training_items, gallery, seed)
    held_out = _mean_score(validation, validation_items, gallery, seed)
    return {
        "training clips": training_items.clips,
        "gallery": gallery,
        "training mAP@10": learnt,
        "validation mAP@10": held_out,
        "overfit index": learnt / held_out if held_out else float("inf"),
        "validation standard error": _standard_error(validation, validation_items),
    }


def _standard_error(embeddings: Embeddings, items: Items) -> float:
    similarity = embeddings[0] @ embeddings[1].T
    precision = per_query(similarity, annotated_relevance(items))["ap@10"]
    by_clip = precision.groupby(items.clip_of_caption.numpy()).mean().to_numpy()
    return float(by_clip.std(ddof=1) / len(by_clip) ** 0.5)


def _mean_score(embeddings: Embeddings, items: Items, gallery: int, seed: int) -> float:
    draws = DRAWS if items.clips > gallery else 1
    return sum(_score(embeddings, items, gallery, seed, draw) for draw in range(draws)) / draws


def _score(embeddings: Embeddings, items: Items, gallery: int, seed: int, draw: int) -> float:
    generator = torch.Generator().manual_seed(derive_seed(seed, "overfit index", draw))
    clip_rows = torch.randperm(items.clips, generator=generator)[:gallery].sort().values
    caption_rows = captions_of(items, clip_rows)
    similarity = embeddings[0][clip_rows] @ embeddings[1][caption_rows].T
    return retrieval_metrics(similarity, items.annotated(clip_rows, caption_rows))["mAP@10"]
