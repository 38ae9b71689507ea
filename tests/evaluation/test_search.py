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
