"""What human ratings say of annotated, near and random pairs, and how well text alone predicts them."""

import numpy as np
import pandas as pd

from corrlib.correspondence.sentences import embed_sentences, without_own
from corrlib.evaluation.intervals import bootstrap_interval
from corrlib.evaluation.relevance import rank_correlation, read_captions, read_ratings

GROUPS = {"TP": "annotated", "C15": "near", "TN": "random"}  # near: 15 clips whose captions are most alike
SPLITS = ("development", "validation", "evaluation")


def spread(tables):
    """Ratings by group over splits: {split: read_ratings table} -> group, pairs, mean, median, quartiles, share >=
    50.
    """
    ratings = pd.concat(tables.values()).assign(group=lambda t: t["group"].map(GROUPS))
    rows = [
        {
            "pairs of clip and caption": group,
            "pairs": len(own),
            "mean": own.mean(),
            "quartile 1": own.quantile(0.25),
            "median": own.median(),
            "quartile 3": own.quantile(0.75),
            "share rated 50 or more": (own >= 50).mean(),
        }
        for group, own in ((g, ratings.loc[ratings["group"] == g, "rating"]) for g in GROUPS.values())
    ]
    return pd.DataFrame(rows)


def predicted(folder, split):
    """The rated pairs of a split with a column `similarity`: sentence similarity of the query and the clip's captions.

    A query takes no part in its own clip's embedding.
    """
    captions, ratings = read_captions(folder, split), read_ratings(folder, split)
    names, owner = np.unique(captions["clip"], return_inverse=True)
    similarity = without_own(embed_sentences(captions["text"].tolist()), owner, len(names))
    row = {name: number for number, name in enumerate(names)}
    column = {query: number for number, query in enumerate(captions["query"])}
    at = [row[c] for c in ratings["clip"]], [column[q] for q in ratings["query"]]
    return ratings.assign(similarity=similarity[at].numpy())


def agreement(pairs, resamples=2000):
    """How well `similarity` orders the rated clips of a query: mean of Spearman's correlation with a 95 % interval.

    Once over all 17 clips of a query, once over its near clips alone (which the annotated clip and the random one
    make no easier). pairs: {split: table of `predicted`}. Bootstrap over queries; each split is a stratum.
    """
    rows = []
    for name, groups in (("all rated clips", tuple(GROUPS)), ("near clips only", ("C15",))):
        values = {
            split: np.array(
                [
                    rank_correlation(own["similarity"], own["rating"])
                    for _, own in table[table["group"].isin(groups)].groupby("query", sort=False)
                ]
            )
            for split, table in pairs.items()
        }
        for split, parts in [*((s, [v]) for s, v in values.items()), ("all splits", list(values.values()))]:
            mean, low, high = bootstrap_interval(parts, [np.arange(len(v)) for v in parts], resamples)
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
