"""What human ratings say of annotated, near and random pairs, and how well text alone predicts them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.correspondence.sentences import embed_sentences, without_own
from corrlib.evaluation.intervals import bootstrap_interval
from corrlib.evaluation.relevance import rank_correlation, read_captions, read_ratings

GROUPS = {"TP": "annotated", "C15": "near", "TN": "random"}  # near: 15 clips whose captions are most alike
SPLITS = ("development", "validation", "evaluation")


def spread(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Ratings (0 to 100) by group, over all splits: how many pairs, mean, median, quartiles, share of 50 or more.

    tables: {split: table of `read_ratings`}.
    """
    ratings = pd.concat(tables.values()).assign(group=lambda t: t["group"].map(GROUPS))
    rows = [
        {
            "pairs of clip and caption": group,
            "pairs": len(values),
            "mean": values.mean(),
            "quartile 1": values.quantile(0.25),
            "median": values.median(),
            "quartile 3": values.quantile(0.75),
            "share rated 50 or more": (values >= 50).mean(),
        }
        for group, values in ((g, ratings.loc[ratings["group"] == g, "rating"]) for g in GROUPS.values())
    ]
    return pd.DataFrame(rows)


def predicted(folder: str | Path, split: str) -> pd.DataFrame:
    """The rated pairs of a split with a column `similarity`: sentence similarity of the query and the clip's captions.

    folder: of the graded data (see corrlib.evaluation.relevance). A query takes no part in its own clip's embedding.
    """
    captions, ratings = read_captions(folder, split), read_ratings(folder, split)
    names, clip_of_caption = np.unique(captions["clip"].to_numpy(str), return_inverse=True)
    similarity = without_own(embed_sentences(captions["text"].tolist()), clip_of_caption, len(names))
    row = {name: number for number, name in enumerate(names)}
    column = {query: number for number, query in enumerate(captions["query"])}
    at = [row[clip] for clip in ratings["clip"]], [column[query] for query in ratings["query"]]
    return ratings.assign(similarity=similarity[at].numpy())


def agreement(pairs: Mapping[str, pd.DataFrame], resamples: int = 2000) -> pd.DataFrame:
    """How well `similarity` orders the rated clips of a query: mean of Spearman's correlation with a 95 % interval.

    Once over all 17 clips of a query, once over its near clips alone (which the annotated clip and the random one
    make no easier). pairs: {split: table of `predicted`}. Bootstrap over queries; each split is a stratum.
    """
    rows = []
    for name, groups in (("all rated clips", tuple(GROUPS)), ("near clips only", ("C15",))):
        values = {
            split: np.array(
                [
                    rank_correlation(rated["similarity"], rated["rating"])
                    for _, rated in rated_pairs[rated_pairs["group"].isin(groups)].groupby("query", sort=False)
                ]
            )
            for split, rated_pairs in pairs.items()
        }
        for split, parts in [
            *((split, [part]) for split, part in values.items()),
            ("all splits", list(values.values())),
        ]:
            mean, low, high = bootstrap_interval(parts, [np.arange(len(part)) for part in parts], resamples)
            rows.append(
                {
                    "clips": name,
                    "split": split,
                    "queries": sum(map(len, parts)),
                    "rank correlation": mean,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)
