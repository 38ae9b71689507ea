"""The nearest embeddings of many: exactly, block by block, or through faiss where there are millions."""

import torch

BLOCK = 65536


def nearest(queries, embeddings, k, block=BLOCK):
    """Exact search by inner product: (similarity (Q, k), row (Q, k)), best first.

    queries (Q, E), embeddings (N, E), of unit length. No more than Q x (block + k) similarities exist at a time.
    """
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"k is {k}; of {len(embeddings)} embeddings it must be from 1 to {len(embeddings)}")
    best, where = (
        queries.new_empty(len(queries), 0),
        torch.empty(len(queries), 0, dtype=torch.long, device=queries.device),
    )
    for start in range(0, len(embeddings), block):
        part = embeddings[start : start + block]
        similarity = queries @ part.T
        best, order = torch.cat([best, similarity], 1).topk(min(k, best.shape[1] + len(part)), dim=1)
        rows = torch.arange(start, start + len(part), device=queries.device).expand(len(queries), -1)
        where = torch.cat([where, rows], 1).gather(1, order)
    return best, where


class FaissIndex:
    """Approximate search: embeddings grouped into `lists` by k-means, of which a query looks into `probes`.

    More probes find more and take longer; as many as lists is exact. ImportError says how to get faiss.
    """

    def __init__(self, embeddings, lists=None, probes=16):
        try:
            import faiss
        except ImportError:
            raise ImportError(
                "faiss is not installed; `pip install faiss-cpu`, or use evaluation.search.nearest"
            ) from None
        rows, size = embeddings.shape
        self.lists = lists or max(1, min(rows // 39, int(4 * rows**0.5)))  # faiss wants 39 rows a list to learn from
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, self.lists, faiss.METRIC_INNER_PRODUCT)
        self.index.train(embeddings.numpy())
        self.index.add(embeddings.numpy())
        self.probes = probes

    @property
    def probes(self):
        return self.index.nprobe

    @probes.setter
    def probes(self, number):
        self.index.nprobe = min(number, self.lists)

    def nearest(self, queries, k):
        """As `nearest`; where fewer than k were found, the last rows are -1."""
        similarity, row = self.index.search(queries.numpy(), k)
        return torch.from_numpy(similarity), torch.from_numpy(row)


def recall(found, exact):
    """Share of the exact rows (Q, k) that are among the found ones (Q, k)."""
    return float((exact[:, :, None] == found[:, None, :]).any(2).float().mean())
