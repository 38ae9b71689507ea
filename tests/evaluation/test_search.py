"""Exact search against sorting everything, faiss against exact search."""

import pytest
import torch

from corrlib.evaluation.search import FaissIndex, nearest, recall


def unit(rows, size=16, seed=0):
    return torch.nn.functional.normalize(torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("rows, k, block", [(100, 1, 7), (100, 10, 7), (100, 100, 33), (5, 5, 1), (50, 3, 1000)])
def test_search_finds_what_sorting_finds(rows, k, block):
    queries, embeddings = unit(9, seed=1), unit(rows)
    similarity, row = nearest(queries, embeddings, k, block)
    everything = (queries @ embeddings.T).sort(dim=1, descending=True)
    torch.testing.assert_close(similarity, everything.values[:, :k])
    assert torch.equal(row, everything.indices[:, :k])


@pytest.mark.parametrize("k", [0, 6])
def test_more_than_there_is_cannot_be_found(k):
    with pytest.raises(ValueError, match="it must be from 1 to 5"):
        nearest(unit(2), unit(5), k)


def test_recall_counts_what_was_found():
    exact = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert recall(exact.flip(1), exact) == 1 and recall(torch.tensor([[1, 2, 9, 9], [5, 9, 9, -1]]), exact) == 3 / 8


def test_faiss_finds_more_with_more_probes_and_all_with_all():
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)
    queries, embeddings = unit(50, seed=1), unit(4000)
    exact = nearest(queries, embeddings, 10)
    index = FaissIndex(embeddings, lists=64)
    found = []
    for probes in (1, 8, 64):
        index.probes = probes
        similarity, row = index.nearest(queries, 10)
        found.append(recall(row, exact[1]))
    assert found[0] < found[1] < found[2] == 1.0
    torch.testing.assert_close(similarity, exact[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("block", [2, 1000])
def test_what_is_not_finite_is_refused(value, block):
    queries, embeddings = unit(3), unit(7)
    for place, name in ((queries, "queries"), (embeddings, "embeddings")):
        kept = place[2, 5].item()
        place[2, 5] = value
        with pytest.raises(ValueError, match=f"{name} holds a value that is not finite"):
            nearest(queries, embeddings, 2, block)
        place[2, 5] = kept
    nearest(queries, embeddings, 2, block)


def test_whole_numbers_and_other_precisions_are_numbers_and_other_kinds_are_refused():
    queries, embeddings = torch.eye(3, 4, dtype=torch.int8), torch.eye(4, dtype=torch.float64)
    similarity, row = nearest(queries, embeddings, 1)
    assert (
        similarity.dtype == torch.float32 and similarity[:, 0].tolist() == [1, 1, 1] and row[:, 0].tolist() == [0, 1, 2]
    )
    for wrong, kind in ((queries.bool(), "booleans"), (queries.to(torch.complex64), "complex numbers")):
        with pytest.raises(ValueError, match=f"queries holds {kind}"):
            nearest(wrong, embeddings, 1)
        with pytest.raises(ValueError, match=f"embeddings holds {kind}"):
            nearest(queries, wrong, 1)
    with pytest.raises(ValueError, match="they must be \\(queries, size\\) and \\(rows, size\\)"):
        nearest(queries, unit(5, size=5), 1)


def test_large_numbers_whose_sum_overflows_are_finite():
    large = torch.full((300, 2), 3e38)
    assert nearest(torch.tensor([[1.0, 0.0]]), large, 1)[0].item() == pytest.approx(3e38)
