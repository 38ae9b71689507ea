"""Estimated correspondences against dense and written-out computations."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from corrlib.correspondence import ensemble_similarity, estimate, member_similarities, top_correspondences
from corrlib.correspondence.estimation import COMBINE
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
    save_embeddings(path, {"development": (clips[1].flip(0), captions[1])})  # the run is made again meanwhile
    with pytest.raises(ValueError, match="1.safetensors was changed while it was read block by block"):
        top_correspondences(*zip(*stored, strict=True), TAU, 5, block=7)


def damaged(tensor, value):
    tensor = tensor.clone()
    tensor[1, 2] = value
    return tensor


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_estimate_refuses_what_is_not_finite(combine, value):
    members = similarities()
    members[2, 3, 4] = value
    with pytest.raises(ValueError, match="teacher_similarities holds a value that is not finite"):
        estimate(members, TAU, combine, weights=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_a_finite_number_above_0(temperature):
    clips, captions = embeddings([4, 7], 5, 6)
    for call in (
        lambda: estimate(similarities(), temperature),
        lambda: estimate(similarities(), temperature, "rank_mean"),
        lambda: top_correspondences(clips, captions, temperature, 2),
    ):
        with pytest.raises(ValueError, match="temperature is .*must be a finite number greater than 0"):
            call()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("block", [2, 1000])
def test_embeddings_that_are_not_finite_are_refused(value, block):
    clips, captions = embeddings([4, 7], 5, 6)
    for pair in (([clips[0], damaged(clips[1], value)], captions), (clips, [damaged(captions[0], value), captions[1]])):
        with pytest.raises(ValueError, match="embeddings holds a value that is not finite"):
            top_correspondences(*pair, TAU, 2, block)
        with pytest.raises(ValueError, match="embeddings holds a value that is not finite"):
            ensemble_similarity(*pair, slice(None), slice(None))


def test_whole_numbers_are_numbers_and_other_kinds_are_refused():
    whole = torch.tensor([[[1, 0], [0, 1]], [[1, 1], [0, 1]]])
    for given in (whole, whole.numpy(), whole.to(torch.int8), whole.tolist(), list(whole)):
        for found, expected in zip(estimate(given, TAU), estimate(whole.float(), TAU), strict=True):
            assert torch.equal(found, expected)
    large = [torch.tensor([[100, 27], [3, 4]], dtype=torch.int8)]  # their products do not fit into int8
    for found, expected in zip(
        top_correspondences(large, large, 1e4, 2),
        top_correspondences([large[0].float()], [large[0].float()], 1e4, 2),
        strict=True,
    ):
        assert torch.equal(found, expected)
    assert member_similarities(large, large, slice(None), slice(None))[0, 0, 0] == 10729
    for wrong, kind in ((whole.bool(), "booleans"), (whole.to(torch.complex64), "complex numbers")):
        with pytest.raises(ValueError, match=f"teacher_similarities holds {kind}"):
            estimate(wrong, TAU)
        with pytest.raises(ValueError, match=f"clip_embeddings holds {kind}"):
            top_correspondences([wrong[0]], [whole[0]], TAU, 1)
        with pytest.raises(ValueError, match=f"caption_embeddings holds {kind}"):
            ensemble_similarity([whole[0]], [wrong[0]], [0], [1])
    with pytest.raises(ValueError, match="teacher_similarities is no array of numbers"):
        estimate(np.array([[["a"]]]), TAU)


def test_shapes_that_do_not_fit_are_refused():
    clips, captions = embeddings([4, 7], 5, 6)
    with pytest.raises(ValueError, match="none of them 0"):
        estimate(torch.zeros(2, 0, 3), TAU)
    with pytest.raises(ValueError, match="member 1 has clip embeddings of size 7 but caption embeddings of size 4"):
        top_correspondences(clips, [captions[0], captions[0]], TAU, 2)
    with pytest.raises(ValueError, match="must be \\(clips, size\\)"):
        ensemble_similarity([clips[0][0]], [captions[0]], [0], [0])
    with pytest.raises(ValueError, match="block is 0"):
        top_correspondences(clips, captions, TAU, 2, block=0)
    with pytest.raises(ValueError, match="weights must be 3 numbers, finite"):
        estimate(similarities(), TAU, weights=[1.0, float("inf"), 1.0])
    probability, rows = top_correspondences(clips, [c[:0] for c in captions], TAU, 2)
    assert probability.shape == rows.shape == (0, 2)
