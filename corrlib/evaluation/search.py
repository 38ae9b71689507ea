"""The nearest embeddings of many: exactly, block by block, or through faiss where there are millions."""

from pathlib import Path
from typing import Any, Self

import torch

from corrlib.evaluation.checks import floating, real_numbers, refuse_below_one, refuse_count, refuse_not_finite

BLOCK = 65536


def nearest(
    queries: torch.Tensor, embeddings: torch.Tensor, k: int, block: int = BLOCK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact search by inner product: (similarity (Q, k), row (Q, k)), best first.

    queries (Q, E), embeddings (N, E), of unit length; similarities are in the queries' precision, on their device. No
    more than Q x (block + k) similarities exist at a time. ValueError where sizes differ, k is not from 1 to N, or
    queries or embeddings hold what is not finite.
    """
    if not isinstance(queries, torch.Tensor) or not isinstance(embeddings, torch.Tensor):
        raise ValueError("queries and embeddings must be tensors, (queries, size) and (rows, size)")
    if queries.ndim != 2 or embeddings.ndim != 2 or queries.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"queries are {tuple(queries.shape)} and embeddings {tuple(embeddings.shape)}; "
            "they must be (queries, size) and (rows, size)"
        )
    refuse_count(k, len(embeddings), "embeddings")
    refuse_below_one(block, "block")
    asked = real_numbers(queries, "queries")
    best, best_rows = asked.new_empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.long, device=asked.device)
    for start in range(0, len(embeddings), block):
        similarity = asked @ floating(embeddings[start : start + block], "embeddings").to(asked).T
        refuse_not_finite(similarity, "embeddings")
        rows = torch.arange(start, start + similarity.shape[1], device=asked.device).expand(len(asked), -1)
        everything = torch.cat([best, similarity], 1)
        best, order = everything.topk(min(k, everything.shape[1]), dim=1)
        best_rows = torch.cat([best_rows, rows], 1).gather(1, order)
    return best, best_rows


class FaissIndex:
    """Approximate search: embeddings (N, E), float32 of unit length, grouped into `lists` by k-means, of which a query
    looks into `probes`.

    More probes find more and take longer; as many as lists is exact. points: embeddings a list from which k-means
    learns, at most; fewer are quicker. ImportError says how to get faiss; ValueError where embeddings hold what is not
    finite.
    """

    def __init__(self, embeddings: torch.Tensor, lists: int | None = None, probes: int = 16, points: int = 256) -> None:
        faiss = _faiss()
        numbers = real_numbers(embeddings, "embeddings").float().numpy()
        if numbers.ndim != 2 or not numbers.size:
            raise ValueError(f"embeddings are {numbers.shape}; they must be (rows, size), none of them 0")
        rows, size = numbers.shape
        refuse_below_one(1 if lists is None else lists, "lists")
        self.lists = lists or max(1, min(rows // 39, int(4 * rows**0.5)))  # faiss wants 39 rows a list to learn from
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, self.lists, faiss.METRIC_INNER_PRODUCT)
        self.index.cp.max_points_per_centroid = points
        self.index.train(numbers)
        self.index.add(numbers)
        self.probes = probes

    def save(self, path: str | Path) -> None:
        """Write the index, with the embeddings in it, as faiss does."""
        _faiss().write_index(self.index, str(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote; its embeddings stay on disk until a query looks into their lists."""
        faiss, loaded = _faiss(), cls.__new__(cls)
        loaded.index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        loaded.lists = loaded.index.nlist
        return loaded

    @property
    def probes(self) -> int:
        """Lists that a query looks into, at most all of them."""
        return self.index.nprobe

    @probes.setter
    def probes(self, number: int) -> None:
        refuse_below_one(number, "probes")
        self.index.nprobe = min(number, self.lists)

    def nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As `nearest`, of queries (Q, E); where fewer than k were found, the last rows are -1."""
        refuse_below_one(k, "k")
        asked = real_numbers(queries, "queries").float().numpy()
        if asked.ndim != 2 or asked.shape[1] != self.index.d:
            raise ValueError(f"queries are {asked.shape}; they must be (queries, {self.index.d})")
        similarity, row = self.index.search(asked, k)
        return torch.from_numpy(similarity), torch.from_numpy(row)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError("faiss is not installed; `pip install faiss-cpu`, or use evaluation.search.nearest") from None
    return faiss


def recall(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Share of the exact rows (Q, k) that are among the found ones (Q, k); ValueError where nothing is compared."""
    if found.ndim != 2 or exact.ndim != 2 or len(found) != len(exact) or not exact.numel():
        raise ValueError(f"found is {tuple(found.shape)} but exact {tuple(exact.shape)}; both must be (queries, k)")
    return float((exact[:, :, None] == found[:, None, :]).any(2).float().mean())
