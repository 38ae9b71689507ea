"""What members and ensemble are worth by the relevances that a study names: of those queries that are its captions.

Stored embeddings are enough for these: no model is loaded. Queries in other words are judged in the models' own runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.batches import Items
from corrlib.corpora.splits import Corpora
from corrlib.evaluation.embeddings import Embeddings
from corrlib.evaluation.evaluate import judge, judge_clips
from corrlib.evaluation.relevance import Relevance, by_name, judge_relevance, load_relevances, summary
from corrlib.reports.estimates import agreement_table
from corrlib.study import runs
from corrlib.study.parameters import EstimateParameters

Metrics = dict[str, dict[str, float]]  # {relevance: {metric: value}}


@dataclass(frozen=True)
class CaptionRelevance:
    """The queries of a relevance that are captions of a split: relevance (clips, queries), and of each its row.

    queries: as of Relevance.queries, one row each, `caption` among them; asked: how many queries there are in all.
    """

    relevance: Relevance
    queries: pd.DataFrame
    asked: int

    def rows(self) -> torch.Tensor:
        """(queries,) rows of the captions of the split."""
        return torch.as_tensor(self.queries["caption"].to_numpy(np.int64, copy=True))

    def judge(self, embeddings: Embeddings) -> pd.DataFrame:
        """As `judge_relevance`, of the embeddings of a split's clips and captions."""
        clips, captions = embeddings
        return judge_relevance(clips @ captions[self.rows()].T, self.relevance)

    def agreement(
        self,
        similarities: Mapping[str, torch.Tensor],
        clip_given_caption: torch.Tensor,
        annotated: torch.Tensor,
        temperature: float,
    ) -> pd.DataFrame:
        """As `agreement_table`, with the relevance for the truth, of the pairs that somebody judged."""
        rows, judged = self.rows(), self.relevance.judged()
        return agreement_table(
            {name: similarity[:, rows] for name, similarity in similarities.items()},
            clip_given_caption[:, rows],
            np.where(judged, self.relevance.relevance, 0),
            annotated[:, rows],
            temperature,
            judged,
        )


def open_relevances(parameters: EstimateParameters, corpora: Corpora) -> dict[str, CaptionRelevance]:
    """{name: CaptionRelevance} of what a run of 05 names; one without a caption of the split among its queries is none.

    How many of the queries are captions is printed where it is not all.
    """
    found = {}
    corpus = corpora.corpus(parameters.split)
    for name, whole in load_relevances(parameters.relevance, corpus).items():
        queries = whole.queries(corpus)
        known = (queries["caption"] >= 0).to_numpy()
        if not known.all():
            print(f"{name}: {known.sum()} of {len(known)} queries are captions of the {parameters.split} split")
        if known.any():
            texts = [text for text, kept in zip(whole.texts, known, strict=True) if kept]
            part = Relevance(whole.kind, texts, whole.relevance[:, known])
            found[name] = CaptionRelevance(part, queries[known].reset_index(drop=True), len(known))
    return found


def metrics(
    embeddings: Embeddings, items: Items, truth: np.ndarray | None, by: Mapping[str, CaptionRelevance]
) -> Metrics:
    """As the first of `judge`, and by every relevance besides."""
    return {**judge(*embeddings, items, truth)[0], **{name: summary(one.judge(embeddings)) for name, one in by.items()}}


def write_queries(
    run: runs.Run,
    name: str,
    embeddings: Embeddings,
    items: Items,
    truth: np.ndarray | None,
    by: Mapping[str, CaptionRelevance],
) -> None:
    """Write `<name>.csv`, a row a caption, and `<name>/<relevance>.csv`, as a training run does: for 12 to compare."""
    run.write_table(f"{name}.csv", judge(*embeddings, items, truth)[1])
    run.write_table(f"{name}/clip-to-caption.csv", judge_clips(*embeddings, items))
    for relevance, one in by.items():
        run.write_table(f"{name}/{relevance}.csv", by_name(relevance, one.judge(embeddings), one.queries))


def answer(by: Mapping[str, CaptionRelevance], agreements: Mapping[str, pd.DataFrame]) -> str:
    """What the ensemble's estimate is worth by each relevance, as sentences with their numbers.

    agreements: {relevance: table of `CaptionRelevance.agreement`}.
    """
    return "".join(f" {_sentence(name, by[name], table)}" for name, table in agreements.items())


def _sentence(name: str, one: CaptionRelevance, table: pd.DataFrame) -> str:
    row = table[table["estimate of"] == "ensemble"].iloc[0]
    parts = []
    if row["captions_matched"]:
        parts.append(
            f"relevant clips are found with an average precision of {row['average_precision']:.3f} (chance "
            f"{row['chance']:.3f}; {row['captions_matched']} captions)"
        )
    if row["captions_correlated"]:
        parts.append(
            f"the estimate's rank correlation is {row['rank_correlation']:.3f} ({row['captions_correlated']} captions)"
        )
    over = f"over {len(one.queries):,}" + f" of {one.asked:,}" * (one.asked > len(one.queries))
    judged = " and ".join(parts) or "no pair that nobody annotated was judged"
    return f"By *{name}*, {over} queries, among pairs that nobody annotated: {judged}."
