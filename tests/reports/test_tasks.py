"""Other tasks against loops written out here, closed forms and known scenes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corrlib.reports import tasks


def embeddings(n, size=6, seed=0):
    return F.normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_scene_overlap_is_the_share_of_common_facts():
    scenes = [
        {("present", "dog"), ("present", "rain")},
        {("present", "dog")},
        {("while", "dog", "bell"), ("present", "bell")},
    ]
    expected = [[len(a & b) / len(a | b) for b in scenes] for a in scenes]
    np.testing.assert_allclose(tasks.scene_overlap(scenes), expected, rtol=1e-6)


def test_clip_to_clip_against_a_loop():
    clips, overlap = embeddings(15), np.random.default_rng(1).random((15, 15)).astype(np.float32)
    found = tasks.clip_to_clip(clips, overlap)["value"]
    for query in range(15):
        others = [i for i in range(15) if i != query]
        ranked = sorted(others, key=lambda i: -float(clips[i] @ clips[query]))
        gains, best = [overlap[i, query] for i in ranked], sorted((overlap[i, query] for i in others), reverse=True)
        dcg, ideal = (sum(g / np.log2(r + 2) for r, g in enumerate(values[:10])) for values in (gains, best))
        assert found[query] == pytest.approx(dcg / ideal, rel=1e-5)


def test_a_clip_never_finds_itself():
    """Two scenes in two clips each: the twin comes first, so nDCG is 1 although every clip is most like itself."""
    scenes = torch.eye(4)[[0, 0, 1, 1]]
    overlap = (scenes @ scenes.T).numpy()
    assert tasks.clip_to_clip(scenes, overlap)["value"].tolist() == [1, 1, 1, 1]


def test_clip_to_caption_against_a_loop():
    clips, captions, owner = embeddings(8), embeddings(24, seed=3), torch.arange(24) % 8
    found = tasks.clip_to_caption(clips, captions, owner)["value"]
    for clip in range(8):
        ranked = sorted(range(24), key=lambda c: -float(captions[c] @ clips[clip]))
        places = [place for place, c in enumerate(ranked, 1) if owner[c] == clip]
        expected = sum(n / place for n, place in enumerate(places, 1) if place <= 10) / 3
        assert found[clip] == pytest.approx(expected)


def test_tagging_against_a_loop_and_without_absent_classes():
    clips, names = embeddings(30), embeddings(4, seed=5)
    tags = np.random.default_rng(2).random((30, 4)) < 0.3
    tags[:, 2] = False
    found = tasks.tagging(clips, names, tags)
    expected = []
    for c in (0, 1, 3):
        ranked = sorted(range(30), key=lambda i: -float(clips[i] @ names[c]))
        places = [place for place, i in enumerate(ranked, 1) if tags[i, c]]
        expected.append(np.mean([n / place for n, place in enumerate(places, 1)]))
    assert found["value"].tolist() == pytest.approx(expected)


def test_average_precision_closed_forms():
    assert tasks.average_precision([3, 2, 1], [1, 0, 0]) == 1
    assert tasks.average_precision([1, 2, 3], [1, 0, 0]) == pytest.approx(1 / 3)
    assert tasks.average_precision([0, 0, 0, 0], [0, 1, 0, 1]) == pytest.approx((1 / 2 + 2 / 4) / 2)  # row order
