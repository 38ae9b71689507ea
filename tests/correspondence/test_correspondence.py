"""Estimated correspondences against dense and written-out computations."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.utils._python_dispatch import TorchDispatchMode

from corrlib.correspondence.estimate import (
    COMBINE,
    agreement,
    calibration,
    ensemble_similarity,
    estimate,
    member_similarities,
    top_correspondences,
)
from corrlib.evaluation.embeddings import StoredEmbeddings, save_embeddings
from corrlib.training.losses import distillation_loss, symmetric_cross_entropy

TAU = 0.05


def similarities(members=3, clips=6, captions=9, seed=0):
    return torch.rand(members, clips, captions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embeddings(sizes, clips, captions, seed=0):
    """Unit-length embeddings of members of different size: (list of (clips, E), list of (captions, E))."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows, size):
        drawn = torch.randn(rows, size, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(drawn, dim=1)

    return [draw(clips, e) for e in sizes], [draw(captions, e) for e in sizes]


@pytest.mark.parametrize("combine", COMBINE)
def test_estimates_are_distributions_in_both_directions(combine):
    by_clip, by_caption = estimate(similarities(), TAU, combine, weights=[1.0, 2.0, 3.0])
    torch.testing.assert_close(by_clip.sum(0), torch.ones(9, dtype=torch.float64))
    torch.testing.assert_close(by_caption.sum(1), torch.ones(6, dtype=torch.float64))
    assert by_clip.shape == by_caption.shape == (6, 9) and (by_clip > 0).all()
    back = estimate(similarities().mT, TAU, combine, weights=[1.0, 2.0, 3.0])  # the directions change places
    torch.testing.assert_close(back[1].T, by_clip)


@pytest.mark.parametrize("combine", sorted({*COMBINE} - {"rank_mean"}))
def test_one_member_or_equal_members_are_that_members_softmax(combine):
    one = similarities(members=1)
    for members in (one, one.repeat(3, 1, 1)):
        by_clip, by_caption = estimate(members, TAU, combine, weights=torch.ones(len(members)))
        torch.testing.assert_close(by_clip, (one[0] / TAU).softmax(0))
        torch.testing.assert_close(by_caption, (one[0] / TAU).softmax(1))


def test_each_combination_equals_its_definition():
    members, weights = similarities(), np.array([0.5, 0.2, 0.3])
    numbers = members.numpy()
    softmax = np.exp(numbers / TAU) / np.exp(numbers / TAU).sum(1, keepdims=True)
    mean = np.exp((weights[:, None, None] * numbers).sum(0) / TAU)
    geometric = np.prod(softmax ** weights[:, None, None], axis=0)
    reciprocal = sum(w / (1 + (m[None] > m[:, None]).sum(1)) for w, m in zip(weights, numbers, strict=True))
    expected = {
        "mean_similarity": mean,
        "geometric_mean": geometric,
        "rank_mean": reciprocal,
        "best": np.exp(numbers[0] / TAU),
        "mean_probability": (weights[:, None, None] * softmax).sum(0),
    }
    for combine, values in expected.items():
        found = estimate(members, TAU, combine, weights=5 * weights)[0]  # only ratios of weights count
        np.testing.assert_allclose(found, values / values.sum(0), rtol=1e-10, err_msg=combine)


def test_geometric_mean_is_mean_similarity_and_the_others_differ():
    found = {name: estimate(similarities(), TAU, name, [1.0, 1.0, 1.1])[0] for name in COMBINE}
    torch.testing.assert_close(found["geometric_mean"], found["mean_similarity"])
    for name in ("mean_probability", "rank_mean", "best"):
        assert (found[name] - found["mean_similarity"]).abs().max() > 0.01, name


def test_estimate_is_the_target_of_the_distillation_loss():
    student, members = similarities(1)[0], similarities(seed=1)
    assert symmetric_cross_entropy(student, *estimate(members, 0.1), TAU).item() == pytest.approx(
        distillation_loss(student, members.mean(0), TAU, teacher_temperature=0.1).item(), 1e-12
    )


def test_temperature_limits_and_half_precision():
    members = similarities(2)
    hard = estimate(members, 1e-5)[0]
    assert torch.equal(hard.argmax(0), members.mean(0).argmax(0)) and hard.max(0).values.min() > 1 - 1e-9
    torch.testing.assert_close(
        estimate(members, 1e6)[1], torch.full((6, 9), 1 / 9, dtype=torch.float64), rtol=1e-5, atol=0
    )
    half = estimate(members.half(), TAU)[0]
    torch.testing.assert_close(half, estimate(members.half().float(), TAU)[0])
    assert half.dtype == torch.float32


def test_ensemble_similarity_of_a_block():
    clips, captions = embeddings([4, 7], 10, 12)
    rows, columns = torch.tensor([3, 0, 3]), torch.tensor([11, 2])
    dense = torch.stack([c @ t.T for c, t in zip(clips, captions, strict=True)])
    torch.testing.assert_close(member_similarities(clips, captions, rows, columns), dense[:, rows][:, :, columns])
    torch.testing.assert_close(ensemble_similarity(clips, captions, rows, columns), dense.mean(0)[rows][:, columns])
    weighted = ensemble_similarity(clips, captions, rows, columns, weights=[1.0, 3.0])
    torch.testing.assert_close(weighted, (dense[0] / 4 + 3 * dense[1] / 4)[rows][:, columns])


@pytest.mark.parametrize("block, k", [(1, 3), (7, 5), (16, 16), (1000, 33)])
def test_top_correspondences_equal_the_dense_matrix(block, k):
    clips, captions = embeddings([4, 7], 33, 50)
    dense = estimate(member_similarities(clips, captions, slice(None), slice(None)), TAU)[0]
    probability, clip = top_correspondences(clips, captions, TAU, k, block)
    expected = dense.T.topk(k, dim=1)
    torch.testing.assert_close(probability, expected.values)
    assert torch.equal(clip, expected.indices)
    if k == 33:
        torch.testing.assert_close(probability.sum(1), torch.ones(50, dtype=torch.float64))


class Largest(TorchDispatchMode):
    """Watches every operation of torch for the largest tensor that it makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


def test_top_correspondences_never_hold_more_than_a_block():
    clips, captions = embeddings([3, 3], 450, 600)
    with Largest() as watched:
        top_correspondences(clips, captions, TAU, 2, block=20)
    assert 0 < watched.numel <= 600 * 3  # of 270,000 pairs: the embeddings are the largest


def test_half_precision_embeddings_are_enough_for_top_correspondences():
    clips, captions = embeddings([4, 7], 33, 50)
    halves = [[e.half() for e in members] for members in (clips, captions)]
    exact, found = top_correspondences(clips, captions, 1.0, 5), top_correspondences(*halves, 1.0, 5)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], rtol=2e-3, atol=0)


def test_bad_members_name_the_culprit():
    clips, captions = embeddings([4, 7], 5, 6)
    with pytest.raises(ValueError, match="unknown way"):
        estimate(similarities(), TAU, "median")
    with pytest.raises(ValueError, match="needs weights"):
        estimate(similarities(), TAU, "best")
    for weights in ([1.0, 2.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="weights must be 3 numbers"):
            estimate(similarities(), TAU, weights=weights)
    with pytest.raises(ValueError, match="must be \\(members"):
        estimate(similarities()[0], TAU)
    with pytest.raises(ValueError, match="greater than 0"):
        estimate(similarities(), 0.0)
    with pytest.raises(ValueError, match="2 members' clip embeddings but 1"):
        ensemble_similarity(clips, captions[:1], [0], [0])
    with pytest.raises(ValueError, match="same corpus"):
        top_correspondences([clips[0], clips[1][:3]], captions, TAU, 2)
    with pytest.raises(ValueError, match="k is 6"):
        top_correspondences(clips, captions, TAU, 6)


def known_truth():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (30, 60)) / 3
    annotated = np.arange(30)[:, None] == np.arange(60) // 2
    truth[annotated] = 1
    return truth, annotated, rng


def test_agreement_of_the_truth_with_itself_and_its_reverse():
    truth, annotated, _ = known_truth()
    same, reverse = agreement(truth, truth, annotated, bins=10), agreement(-truth, truth, annotated)
    assert same["rank_correlation"] == pytest.approx(1) and same["average_precision"] == 1
    assert reverse["rank_correlation"] == pytest.approx(-1) and reverse["average_precision"] < same["chance"]
    assert same["captions_correlated"] == same["captions_matched"] == 60 and "calibration" not in reverse
    np.testing.assert_allclose(same["calibration"]["truth"], same["calibration"]["estimated"])


def test_agreement_ignores_annotated_pairs_and_scale():
    truth, annotated, rng = known_truth()
    guess = truth + rng.normal(0, 0.3, truth.shape)
    found = agreement(guess, truth, annotated, bins=10)
    changed = agreement(np.where(annotated, -99, guess), np.where(annotated, 0, truth), annotated, bins=10)
    scaled = agreement(np.exp(guess), truth, annotated)
    for name in ("rank_correlation", "average_precision", "chance"):
        assert found[name] == pytest.approx(changed[name]) == pytest.approx(scaled[name])
    assert found["calibration"].equals(changed["calibration"])
    assert found["chance"] < found["average_precision"] < 1 and 0 < found["rank_correlation"] < 1


def test_agreement_equals_scipy_and_a_loop():
    truth, annotated, rng = known_truth()
    guess = rng.random(truth.shape)
    keep = ~annotated
    expected, precisions = [], []
    for j in range(60):
        g, t = guess[keep[:, j], j], truth[keep[:, j], j]
        expected.append(spearmanr(g, t).statistic)
        hits = [t[i] == 1 for i in sorted(range(len(g)), key=lambda i: -g[i])]
        precisions.append(np.mean([sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]))
    found = agreement(guess, truth, annotated)
    assert found["rank_correlation"] == pytest.approx(np.mean(expected))
    assert found["average_precision"] == pytest.approx(np.mean(precisions))


def test_agreement_where_nothing_can_be_said():
    eye = np.eye(4)
    found = agreement(np.random.default_rng(0).random((4, 4)), eye, eye)  # only annotated pairs match at all
    assert np.isnan(found["rank_correlation"]) and np.isnan(found["average_precision"]) and np.isnan(found["chance"])
    truth, annotated, _ = known_truth()
    assert agreement(np.zeros_like(truth), truth, annotated)["rank_correlation"] == 0  # an estimate without opinion
    with pytest.raises(ValueError, match="not finite"):
        agreement(truth * np.nan, truth, annotated)
    with pytest.raises(ValueError, match="same \\(clips, captions\\)"):
        agreement(truth[:, 1:], truth, annotated)


def test_calibration_tables():
    rng = np.random.default_rng(0)
    guess = rng.random((100, 200))
    hits = rng.random(guess.shape) < guess  # calibrated by construction
    table = calibration(guess, hits, bins=20)
    assert table["pairs"].tolist() == [1000] * 20 and (table["low"] < table["estimated"]).all()
    np.testing.assert_allclose(table["truth"], table["estimated"], atol=5 * 0.5 / 1000**0.5)
    edged = calibration(guess, hits, bins=[0, 0.5, 0.9, 1])
    for row in edged.itertuples():
        inside = (guess >= row.low) & (guess < row.high)
        assert row.pairs == inside.sum() and row.truth == pytest.approx(hits[inside].mean())
        assert row.estimated == pytest.approx(guess[inside].mean())
    assert edged["pairs"].sum() == guess.size


def test_calibration_keeps_equal_estimates_together_and_every_pair():
    table = calibration(np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 0, 1, 1, 1]), bins=4)
    assert table["pairs"].sum() == 8 and table["truth"].tolist() == pytest.approx([1 / 6, 1])
    on_edge = calibration(np.array([0, 0.5, 0.5, 1]), np.array([0, 1, 1, 1]), bins=[0, 0.5, 1])
    assert on_edge["pairs"].tolist() == [1, 3]  # a bin holds its lower edge
    constant = calibration(np.full(5, 0.3), np.arange(5) / 4)
    assert constant["pairs"].tolist() == [5] and constant["truth"].tolist() == [0.5]
    with pytest.raises(ValueError, match="widen the edges"):
        calibration(np.array([0.1, 0.9]), np.array([0, 1]), bins=[0, 0.5])


def test_embeddings_on_disk_give_the_same_correspondences(tmp_path):
    draw = torch.Generator().manual_seed(0)
    clips, captions = (
        [torch.nn.functional.normalize(torch.randn(n, size, generator=draw), dim=-1) for size in (8, 12)]
        for n in (50, 30)
    )
    stored = []
    for member, (own, texts) in enumerate(zip(clips, captions, strict=True)):
        path = tmp_path / f"{member}.safetensors"
        save_embeddings(path, {"development": (own, texts)})
        stored.append([StoredEmbeddings(path, f"development/{kind}") for kind in ("clips", "captions")])
        assert (len(stored[-1][0]), stored[-1][1].nbytes) == (50, texts.nbytes)
    found = top_correspondences(*zip(*stored, strict=True), TAU, 5, block=7)
    for ours, expected in zip(found, top_correspondences(clips, captions, TAU, 5), strict=True):
        torch.testing.assert_close(ours, expected)
    with pytest.raises(KeyError, match="holds no 'test/clips'"):
        StoredEmbeddings(path, "test/clips")
