"""Relevance beyond annotated pairs: several relevant clips a query, and human ratings.

Multi-positive: a CSV `query, audio_filenames` (as for the DCASE 2025 evaluation), the names a list or parted by `;`.
Graded: the folder of "TAU Audio-Text Graded Relevances 2023" (Xie et al., DCASE 2023): 0 to 100, for some clips a
query. Neither need cover all captions of a split: what is judged by them are their queries.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none
import torch

from corrlib.corpora.corpus import Corpus
from corrlib.corpora.layouts import plain
from corrlib.corpora.tables import need, read_csv, shown
from corrlib.evaluation.checks import as_array, real_numbers
from corrlib.evaluation.metrics import per_query, summarise
from corrlib.files import without_apostrophe
from corrlib.models.text import clean
from corrlib.study import relevances

LEFT_OUT = -1  # in place of the row of a clip that the corpus's audit left out


@dataclass(frozen=True)
class Relevance:
    """What is relevant for some queries among the clips of a corpus.

    kind: `multi-positive` or `graded`; texts: the queries; relevance (clips, queries) float32 in [0, 1], NaN where a
    pair was not judged; groups (clips, queries): how a pair was chosen (graded only), else None.
    """

    kind: str
    texts: list[str]
    relevance: np.ndarray
    groups: np.ndarray | None = None

    def judged(self) -> np.ndarray:
        """Whether somebody has judged each pair: bool (clips, queries)."""
        return np.isfinite(self.relevance)

    def queries(self, corpus: Corpus) -> pd.DataFrame:
        """A row a query: caption_id, clip (row number of its own clip), caption (its row in the corpus's captions).

        A query is the caption of the same words, of several the one whose clip is most relevant, and none twice as far
        as there are others. One that the corpus does not have is `query 1` (its place), of caption -1, and goes with
        the clip that is most relevant.
        """
        rows_of: dict[str, list[int]] = {}
        for row, text in enumerate(corpus.captions["text"]):
            rows_of.setdefault(clean(text), []).append(row)
        clip_of = pd.Index(corpus.clips["clip_id"]).get_indexer(pd.Index(corpus.captions["clip_id"]))
        known = np.where(self.judged(), self.relevance, -1)  # a clip of which nothing is known comes last
        ids, found = corpus.captions["caption_id"], []
        taken: set[int] = set()
        for column, text in enumerate(self.texts):
            same = rows_of.get(clean(text), [])
            if same:
                row = max(same, key=lambda r: (known[clip_of[r], column], r not in taken))
                taken.add(row)
                found.append((ids.iloc[row], int(clip_of[row]), row))
            else:
                found.append((f"query {column + 1}", int(known[:, column].argmax()), -1))
        return pd.DataFrame(found, columns=["caption_id", "clip", "caption"])


def load_relevances(value: str | dict[str, str], corpus: Corpus) -> dict[str, Relevance]:
    """{name: Relevance} of what a run's parameter `relevance` names; a single place is called by its kind."""
    found = {name: load_relevance(place, corpus) for name, place in relevances.places(value).items()}
    return {name or one.kind: one for name, one in found.items()}


def load_relevance(path: str | Path, corpus: Corpus) -> Relevance:
    """The Relevance in `path` for the clips of `corpus`: a CSV (multi-positive) or a folder (graded)."""
    path = need(path, "relevance data", "set `relevance` to the CSV or the folder")
    return load_graded(path, corpus) if path.is_dir() else load_multi_positive(path, corpus)


def load_multi_positive(path: str | Path, corpus: Corpus) -> Relevance:
    """Relevance 1 of each listed clip of a query, else 0; ValueError names an unknown clip or an empty list.

    Clips that the corpus's audit left out are left out here, and queries that have no other.
    """
    queries = read_csv(path, ["query", "audio_filenames"]).map(without_apostrophe)
    row_of = _rows(corpus)
    relevance = np.zeros((len(corpus.clips), len(queries)), np.float32)
    left_out = 0
    for column, (query, names) in enumerate(zip(queries["query"], queries["audio_filenames"], strict=True)):
        wanted = _names(path, query, names)
        unknown = [name for name in wanted if plain(name) not in row_of]
        if unknown or not wanted:
            what = f"'{shown(unknown[0])}', which is no clip of this split" if unknown else "no clip"
            raise ValueError(
                f"{path} gives the query '{shown(query)}' {what}; mend that line or choose the right split"
            )
        rows = [row_of[plain(name)] for name in wanted]
        relevance[[row for row in rows if row != LEFT_OUT], column] = 1
        left_out += rows.count(LEFT_OUT)
    kept = np.asarray(relevance.any(0))
    _say_left_out(path, left_out, len(queries), int(kept.sum()))
    return Relevance("multi-positive", queries.loc[kept, "query"].tolist(), relevance[:, kept])


def _say_left_out(path: str | Path, pairs: int, queries: int, kept: int) -> None:
    """Print how many pairs and queries went with clips that the audit left out; ValueError where no query is left."""
    if not kept:
        raise ValueError(f"{path} holds no query with a clip of this split; give a table that has some")
    if pairs:
        print(
            f"{path}: {pairs} pairs name clips that the corpus leaves out; {kept} of {queries} queries stay", flush=True
        )


def _names(path: str | Path, query: str, text: str) -> list[str]:
    if not text.strip().startswith("["):
        return [name.strip() for name in text.split(";") if name.strip()]
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"{path} gives the query '{shown(query)}' audio_filenames that are no list of names; mend that line"
        )
    return names


def _rows(corpus: Corpus) -> dict[str, int]:
    """{plain file name: clip row}, LEFT_OUT for those that the audit left out."""
    excluded = {plain(clip_id.split("/", 2)[-1]): LEFT_OUT for clip_id in corpus.excluded["clip_id"]}
    return excluded | {plain(clip_id.split("/", 2)[-1]): row for row, clip_id in enumerate(corpus.clips["clip_id"])}


def read_ratings(folder: str | Path, split: str) -> pd.DataFrame:
    """Table `query, text, clip, group, rating, own` of a split: rating 0 to 100, clip a file name, own: annotated pair.

    group: TP (the query's own clip), C15 (clips with captions alike), TN (a random clip).
    """
    folder = Path(folder) / "data" if (Path(folder) / "data").is_dir() else Path(folder)
    ratings = read_csv(folder / "relevance_data" / f"{split}_relevances.csv", ["tid", "fid", "fid_group", "rating"])
    texts = read_csv(folder / "text_data" / f"{split}_text.csv", ["tid", "fid", "text"])
    clips = read_csv(folder / "audio_metadata" / f"{split}_audio_metadata.csv", ["fid", "file_name"])
    pairs = ratings.merge(texts[["tid", "text"]], on="tid", how="left")
    pairs = pairs.merge(clips[["fid", "file_name"]], on="fid", how="left")
    lost = pairs[pairs["text"].isna() | pairs["file_name"].isna()]
    if len(lost):
        raise ValueError(
            f"{folder} rates the query '{lost['tid'].iloc[0]}' with the clip '{lost['fid'].iloc[0]}', but one "
            "of the two is in no table; restore the published folder"
        )
    values = pd.to_numeric(pairs["rating"], errors="coerce")
    if not values.between(0, 100).all():
        wrong = pairs["rating"][~values.between(0, 100)].iloc[0]
        raise ValueError(f"{folder} holds the rating '{wrong}'; ratings are numbers from 0 to 100")
    return pd.DataFrame(
        {
            "query": pairs["tid"],
            "text": pairs["text"],
            "clip": pairs["file_name"],
            "group": pairs["fid_group"],
            "rating": values,
            "own": pairs["fid_group"] == "TP",
        }
    )


def read_captions(folder: str | Path, split: str) -> pd.DataFrame:
    """Table `query, clip, text` of all ClothoV2 captions that the graded data ship: the text side alone."""
    folder = Path(folder) / "data" if (Path(folder) / "data").is_dir() else Path(folder)
    texts = read_csv(folder / "text_data" / f"{split}_text.csv", ["tid", "fid", "text"])
    clips = read_csv(folder / "audio_metadata" / f"{split}_audio_metadata.csv", ["fid", "file_name"])
    captions = texts.merge(clips[["fid", "file_name"]], on="fid")
    return captions.rename(columns={"tid": "query", "file_name": "clip"})[["query", "clip", "text"]]


def load_graded(folder: str | Path, corpus: Corpus) -> Relevance:
    """Relevance rating / 100 of the rated pairs, NaN for the others; ValueError names a clip that the corpus lacks.

    Clips that the corpus's audit left out are left out here, and queries that have no other.
    """
    pairs = read_ratings(folder, corpus.clips["split"].iloc[0])
    row_of = _rows(corpus)
    unknown = [clip for clip in pairs["clip"] if plain(clip) not in row_of]
    if unknown:
        raise ValueError(
            f"{folder} rates '{shown(unknown[0])}', which is no clip of this split; choose the corpus clotho"
        )
    kept = pairs[[row_of[plain(clip)] != LEFT_OUT for clip in pairs["clip"]]]
    queries = kept.drop_duplicates("query")
    _say_left_out(folder, len(pairs) - len(kept), pairs["query"].nunique(), len(queries))
    pairs = kept
    column_of = {query: column for column, query in enumerate(queries["query"])}
    relevance = np.full((len(corpus.clips), len(queries)), np.nan, np.float32)
    groups = np.full(relevance.shape, "", object)
    at = [row_of[plain(clip)] for clip in pairs["clip"]], [column_of[query] for query in pairs["query"]]
    relevance[at], groups[at] = pairs["rating"] / 100, pairs["group"]
    return Relevance("graded", queries["text"].tolist(), relevance, groups)


def judge_relevance(similarity: torch.Tensor | np.ndarray, relevance: Relevance) -> pd.DataFrame:
    """One row a query. Multi-positive: as `metrics.per_query`. Graded: nDCG@10 and Spearman's rank correlation among
    the rated clips only, for nothing is known of the others. similarity (clips, queries), finite (ValueError).
    """
    similarity = real_numbers(similarity, "similarity")
    if tuple(similarity.shape) != relevance.relevance.shape:
        raise ValueError(
            f"similarity is {tuple(similarity.shape)} but relevance {relevance.relevance.shape}; both must be "
            "(clips, queries)"
        )
    if relevance.kind == "multi-positive":
        return per_query(similarity, relevance.relevance)
    rows, scores = [], as_array(similarity)
    for column in range(relevance.relevance.shape[1]):
        rated = np.isfinite(relevance.relevance[:, column])
        truth, guess = relevance.relevance[rated, column], scores[rated, column]
        rows.append(
            {
                "rated": int(rated.sum()),
                "ndcg@10": per_query(guess[:, None], truth[:, None])["ndcg@10"].iloc[0],
                "rank_correlation": rank_correlation(guess, truth),
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Means of a table of `judge_relevance` as metrics.json has them, and the number of its `queries`."""
    if "rank" in table:
        return {**summarise(table), "queries": len(table)}
    names = {"nDCG@10": "ndcg@10", "rank correlation": "rank_correlation", "rated": "rated"}
    return {**{name: float(table[column].mean()) for name, column in names.items()}, "queries": len(table)}


def by_name(name: str, table: pd.DataFrame, queries: pd.DataFrame) -> pd.DataFrame:
    """A table of `judge_relevance` as a run keeps it: caption_id, clip, and columns `<name> <value>`.

    queries: of `Relevance.queries`, the same queries in the same order.
    """
    own = queries[["caption_id", "clip"]].reset_index(drop=True)
    return pd.concat([own, table.reset_index(drop=True).add_prefix(f"{name} ")], axis=1)


def rank_correlation(guess: np.ndarray | pd.Series, truth: np.ndarray | pd.Series) -> float:
    """Spearman's, of two arrays (n,); 0 where either does not vary. ValueError where they are no such numbers."""
    guess, truth = (
        as_array(real_numbers(np.asarray(part), name)) for part, name in ((guess, "guess"), (truth, "truth"))
    )
    if guess.ndim != 1 or guess.shape != truth.shape or not guess.size:
        raise ValueError(f"guess is {guess.shape} but truth {truth.shape}; both must be (n,), at least one")
    if np.ptp(guess) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(guess, truth).statistic)
