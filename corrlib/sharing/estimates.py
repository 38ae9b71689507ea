"""Estimated correspondences as files: for every caption its most probable clips, for every clip its captions."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from corrlib.correspondence import top_correspondences
from corrlib.evaluation.embeddings import StoredEmbeddings
from corrlib.files import csv_of, replacing, write_atomically
from corrlib.sharing.cards import estimates_card
from corrlib.sharing.ensembles import Ensemble
from corrlib.sharing.missing import missing_annotations

if TYPE_CHECKING:
    import pyarrow

ABOUT, CARD, MISSING = "correspondences.json", "README.md", "missing_annotations.csv"
CLIPS, CAPTIONS = "clips_of_captions", "captions_of_clips"
NORMALISERS = {CLIPS: "caption_normalisers", CAPTIONS: "clip_normalisers"}
AT_ONCE = 4096  # captions, or clips, of a row group
BLOCK = 256  # queries, or partners, whose embeddings are looked up together
PAIRS = 16384  # pairs of a block that are
SAID = "corrlib"  # the key of a parquet file's metadata that holds what correspondences.json does


@dataclass(frozen=True)
class Top:
    """The k most probable partners of each query: probability, similarity float32 and row int64 (queries, k).

    log_normaliser (queries,): log of the sum over all partners of exp(similarity / temperature), so that the
    probability of any pair is exp(similarity / temperature - log_normaliser).
    """

    probability: torch.Tensor
    similarity: torch.Tensor
    row: torch.Tensor
    log_normaliser: torch.Tensor


def export_correspondences(ensemble: Ensemble, to: str | Path, k: int = 50, licence: str = "other") -> Path:
    """Write an ensemble's estimate into a folder, in both directions, as parquet that any program reads.

    `clips_of_captions.parquet` and `captions_of_clips.parquet`: caption_id, caption, clip_id, file, rank (1 is best),
    probability, similarity, annotated; k rows a caption, or a clip (fewer where there are no more clips, or captions).
    `*_normalisers.parquet`: what makes the probability of any other pair (see Top). `correspondences.json`: members,
    temperature, k, counts and fingerprint, which the parquet files have in their metadata, too. README.md: a data card.
    missing_annotations.csv: see `corrlib.sharing.missing`.

    The matrix of all pairs never exists. ImportError says how to get pyarrow; NotWritten where the disk is full;
    FileExistsError where `to` holds something else.
    """
    _need_pyarrow()
    folder = Path(to)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / ABOUT).is_file())):
        raise FileExistsError(f"{folder} holds something else than correspondences; name a new folder")
    (folder / ABOUT).unlink(missing_ok=True)  # from here to the end the folder holds none
    columns = _columns(ensemble)
    about = describe(ensemble, k)
    of_captions = top(ensemble.caption_embeddings, ensemble.clip_embeddings, ensemble.temperature, k)
    _write(folder, CLIPS, of_captions, columns, about)
    own = own_similarity(ensemble, columns["clip_of_caption"])
    missing = missing_annotations(ensemble, of_captions, own)
    write_atomically(folder / MISSING, csv_of(missing))
    del of_captions
    of_clips = top(ensemble.clip_embeddings, ensemble.caption_embeddings, ensemble.temperature, k)
    _write(folder, CAPTIONS, of_clips, columns, about)
    write_atomically(folder / CARD, estimates_card(about, licence))
    write_atomically(folder / ABOUT, json.dumps(about, indent=1))
    return folder


def top(
    query_embeddings: Sequence[StoredEmbeddings],
    partner_embeddings: Sequence[StoredEmbeddings],
    temperature: float,
    k: int,
    block: int = 1024,
) -> Top:
    """The k most probable partners of each query under the members' mean similarity (paper, section 2.2), exactly.

    query_embeddings, partner_embeddings: captions and clips, or the other way round. In memory: see
    `mean_similarity`, and block x (block + k) similarities.
    """
    k = min(k, len(partner_embeddings[0]))
    probability, rows = top_correspondences(partner_embeddings, query_embeddings, temperature, k, block)
    similarity = mean_similarity(query_embeddings, partner_embeddings, rows)
    return Top(probability, similarity, rows, similarity[:, 0] / temperature - probability[:, 0].log())


def mean_similarity(
    query_embeddings: Sequence[StoredEmbeddings],
    partner_embeddings: Sequence[StoredEmbeddings],
    rows: torch.Tensor,
) -> torch.Tensor:
    """The members' mean similarity (queries, k) of each query and its partners of `rows` (queries, k).

    In memory at a time: one member's embeddings of the side that has fewer, and a block of the other's.
    """
    total = torch.zeros(rows.shape)
    few_partners = len(partner_embeddings[0]) <= len(query_embeddings[0])
    add = _add_by_queries if few_partners else _add_by_partners
    for of_queries, of_partners in zip(query_embeddings, partner_embeddings, strict=True):
        add(total, of_queries, of_partners, rows)
    return total / len(query_embeddings)


def _add_by_queries(
    total: torch.Tensor, of_queries: StoredEmbeddings, of_partners: StoredEmbeddings, rows: torch.Tensor
) -> None:
    """Add one member's similarities to `total` (queries, k): all partners in memory, queries block by block."""
    partners = _in_memory(of_partners)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        total[part] += torch.einsum("qe,qke->qk", of_queries[part].float(), partners[rows[part]])


def _add_by_partners(
    total: torch.Tensor, of_queries: StoredEmbeddings, of_partners: StoredEmbeddings, rows: torch.Tensor
) -> None:
    """As `_add_by_queries` with all queries in memory: the pairs of each block of partners are looked up together."""
    queries, flat, k = _in_memory(of_queries), total.view(-1), rows.shape[1]
    sorted_rows, order = rows.flatten().sort()
    for start in range(0, len(of_partners), BLOCK):
        first, last = torch.searchsorted(sorted_rows, torch.tensor([start, start + BLOCK])).tolist()
        if first == last:
            continue
        partners = of_partners[start : start + BLOCK].float()
        for places in torch.arange(first, last).split(PAIRS):
            pairs = order[places]
            flat[pairs] += (queries[pairs // k] * partners[sorted_rows[places] - start]).sum(1)


def _in_memory(stored: StoredEmbeddings, block: int = 65536) -> torch.Tensor:
    """All rows (N, E), float32; read in blocks, as a file that is read at once is in memory twice."""
    rows = torch.empty(stored.shape)
    for start in range(0, len(stored), block):
        rows[start : start + block] = stored[start : start + block]
    return rows


def own_similarity(ensemble: Ensemble, clip_of_caption: np.ndarray) -> torch.Tensor:
    """The members' mean similarity (captions,) of each caption and the clip that it was written for."""
    rows = torch.from_numpy(clip_of_caption)[:, None]
    return mean_similarity(ensemble.caption_embeddings, ensemble.clip_embeddings, rows)[:, 0]


def describe(ensemble: Ensemble, k: int) -> dict[str, Any]:
    """What correspondences.json says."""
    clips, captions = ensemble.corpus.clips, ensemble.corpus.captions
    return {
        "study": ensemble.study,
        "members": ensemble.results,
        "combine": "mean_similarity",
        "temperature": ensemble.temperature,
        "corpus": str(clips["corpus"].iloc[0]) if clips["corpus"].nunique() == 1 else sorted(clips["corpus"].unique()),
        "split": ensemble.split,
        "fingerprint": ensemble.corpus.fingerprint(ensemble.data),
        "clips": len(clips),
        "captions": len(captions),
        "clips_a_caption": min(k, len(clips)),
        "captions_a_clip": min(k, len(captions)),
        "probability": "exp(similarity / temperature - log_normaliser), over all clips of the split in "
        f"{CLIPS}.parquet and over all its captions in {CAPTIONS}.parquet",
    }


def files_of(ensemble: Ensemble) -> list[str]:
    """The path of each clip's file below the data folder, or its name where it lies elsewhere."""
    home = ensemble.data.resolve()
    resolved = (Path(path) for path in ensemble.corpus.clips["path"])
    absolute = [path if path.is_absolute() else Path.cwd() / path for path in resolved]
    return [path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name for path in absolute]


def _columns(ensemble: Ensemble) -> dict[str, Any]:
    """Names of clips and captions by row, and the clip row of each caption."""
    clips, captions = ensemble.corpus.clips, ensemble.corpus.captions
    return {
        "clip_id": clips["clip_id"].to_numpy(object),
        "file": np.array(files_of(ensemble), object),
        "caption_id": captions["caption_id"].to_numpy(object),
        "caption": captions["text"].to_numpy(object),
        "clip_of_caption": pd.Index(clips["clip_id"]).get_indexer(pd.Index(captions["clip_id"])).astype(np.int64),
    }


def _write(folder: Path, name: str, found: Top, columns: dict[str, Any], about: dict[str, Any]) -> None:
    """One direction: its table, and its normalisers."""
    import pyarrow
    import pyarrow.parquet

    said = {SAID: json.dumps(about)}
    tables = _tables(name, found, columns)
    first = next(tables).replace_schema_metadata(said)
    with (
        replacing(folder / f"{name}.parquet") as part,
        pyarrow.parquet.ParquetWriter(part, first.schema, compression="zstd") as writer,
    ):
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.replace_schema_metadata(said))
    key = "caption_id" if name == CLIPS else "clip_id"
    normalisers = pyarrow.table({key: columns[key], "log_normaliser": found.log_normaliser.numpy()})
    with replacing(folder / f"{NORMALISERS[name]}.parquet") as part:
        pyarrow.parquet.write_table(normalisers.replace_schema_metadata(said), part, compression="zstd")


def _tables(name: str, found: Top, columns: dict[str, Any]) -> "Iterator[pyarrow.Table]":
    """The rows of one direction, some thousand queries at a time."""
    import pyarrow

    texts = {column: pyarrow.array(columns[column]) for column in ("caption_id", "caption", "clip_id", "file")}
    k = found.row.shape[1]
    for start in range(0, len(found.row), AT_ONCE):
        partners = found.row[start : start + AT_ONCE].numpy()
        queries = np.broadcast_to(np.arange(start, start + len(partners))[:, None], partners.shape)
        clips, captions = (partners, queries) if name == CLIPS else (queries, partners)
        clips, captions = clips.ravel(), captions.ravel()
        yield pyarrow.table(
            {
                "caption_id": texts["caption_id"].take(captions),
                "caption": texts["caption"].take(captions),
                "clip_id": texts["clip_id"].take(clips),
                "file": texts["file"].take(clips),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(partners)),
                "probability": found.probability[start : start + AT_ONCE].float().numpy().ravel(),
                "similarity": found.similarity[start : start + AT_ONCE].numpy().ravel(),
                "annotated": columns["clip_of_caption"][captions] == clips,
            }
        )


def _need_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ImportError("pyarrow is not installed; `pip install pyarrow`, or corrlib's extra `share`") from None
