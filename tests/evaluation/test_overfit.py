"""The overfit index and the watched pairs against computations written out from their definitions."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib.corpora.batches import Items
from corrlib.corpora.corpus import Corpus
from corrlib.evaluation.overfit import DRAWS, overfit_index
from corrlib.evaluation.watched import measure


def items_of(clips: int, captions_each: int) -> Items:
    ids = [f"clip-{row}" for row in range(clips)]
    clip_table = pd.DataFrame({"clip_id": ids, "duration_seconds": 1.0})
    captions = [
        (f"{clip}-{number}", clip, f"text {number} of {clip}") for clip in ids for number in range(captions_each)
    ]
    caption_table = pd.DataFrame(captions, columns=["caption_id", "clip_id", "text"])
    return Items(Corpus(clip_table, caption_table, pd.DataFrame({"clip_id": ids}), {}))


def embeddings_of(items: Items, noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions that lie around their clips, the further away the more noise there is."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(items.clips, 16, generator=generator)
    captions = clips[items.clip_of_caption] + noise * torch.randn(items.captions, 16, generator=generator)
    normalise = torch.nn.functional.normalize
    return normalise(clips, dim=-1), normalise(captions, dim=-1)


def mean_average_precision(embeddings, items, clips) -> float:
    """Of each caption of some clips, one by one: 1 / rank of its clip among them, 0 beyond the tenth."""
    values = []
    for caption, own in enumerate(items.clip_of_caption.tolist()):
        if own in clips:
            scores = {clip: float(embeddings[0][clip] @ embeddings[1][caption]) for clip in clips}
            rank = 1 + sum(score > scores[own] for score in scores.values())
            values.append(1 / rank if rank <= 10 else 0.0)
    return float(np.mean(values))


@pytest.fixture
def learnt_and_held_out():
    training, validation = items_of(40, 3), items_of(15, 2)
    return embeddings_of(training, 1.1, 1), training, embeddings_of(validation, 1.5, 2), validation


def test_of_equal_splits_the_index_is_the_ratio_of_their_scores():
    items = items_of(15, 2)
    learnt, held_out = embeddings_of(items, 0.5, 1), embeddings_of(items, 1.5, 2)
    found = overfit_index(learnt, items, held_out, items, seed=3)
    scores = [mean_average_precision(own, items, range(15)) for own in (learnt, held_out)]
    assert found["gallery"] == 15
    assert found["training mAP@10"] == pytest.approx(scores[0], 1e-6)
    assert found["validation mAP@10"] == pytest.approx(scores[1], 1e-6)
    assert found["overfit index"] == pytest.approx(scores[0] / scores[1], 1e-6) and found["overfit index"] > 1.2
    assert overfit_index(learnt, items, learnt, items, seed=3)["overfit index"] == 1


def test_the_larger_split_is_drawn_from_in_galleries_of_the_smaller(learnt_and_held_out, monkeypatch):
    from corrlib.evaluation import overfit

    seen, score = [], overfit._score

    def watch(embeddings, items, gallery, seed, draw):
        generator = torch.Generator().manual_seed(overfit.derive_seed(seed, "overfit index", draw))
        rows = torch.randperm(items.clips, generator=generator)[:gallery].tolist()
        seen.append((items.clips, mean_average_precision(embeddings, items, rows)))
        return score(embeddings, items, gallery, seed, draw)

    monkeypatch.setattr(overfit, "_score", watch)
    found = overfit_index(*learnt_and_held_out, seed=3)
    of_training = [value for clips, value in seen if clips == 40]
    assert len(of_training) == DRAWS and len(set(of_training)) == DRAWS and len(seen) == DRAWS + 1
    assert found["training mAP@10"] == pytest.approx(np.mean(of_training), 1e-6)
    assert found == overfit_index(*learnt_and_held_out, seed=3) and found["gallery"] == 15


def test_the_standard_error_is_over_clips(learnt_and_held_out):
    _, _, embeddings, items = learnt_and_held_out
    by_clip = []
    for clip in range(items.clips):
        of_clip = [c for c, own in enumerate(items.clip_of_caption.tolist()) if own == clip]
        scores = [embeddings[0] @ embeddings[1][caption] for caption in of_clip]
        ranks = [1 + int((values > values[clip]).sum()) for values in scores]
        by_clip.append(np.mean([1 / rank if rank <= 10 else 0 for rank in ranks]))
    expected = np.std(by_clip, ddof=1) / len(by_clip) ** 0.5
    assert overfit_index(*learnt_and_held_out, seed=3)["validation standard error"] == pytest.approx(expected, 1e-6)


def test_watched_pairs_are_measured_one_by_one():
    generator = torch.Generator().manual_seed(5)
    similarity = torch.rand(6, 9, generator=generator)
    pairs = torch.rand(6, 9, generator=generator) > 0.6
    found = measure(similarity, {"some": pairs, "none": torch.zeros(6, 9, dtype=torch.bool)})
    chosen = [(i, j) for i, j in itertools.product(range(6), range(9)) if pairs[i, j]]
    places = [sum(bool(similarity[k, j] > similarity[i, j]) for k in range(6)) / 5 for i, j in chosen]
    assert found["some similarity"] == pytest.approx(float(np.mean([similarity[i, j] for i, j in chosen])), 1e-6)
    assert found["some rank"] == pytest.approx(np.mean(places), 1e-6)
    assert np.isnan(found["none similarity"]) and np.isnan(found["none rank"])
