"""Likely missing annotations: pairs that nobody annotated and an ensemble prefers, for a person to accept or not."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from corrlib.corpora.tables import read_csv, shown
from corrlib.files import csv_of, without_apostrophe, write_atomically

if TYPE_CHECKING:
    from corrlib.sharing.ensembles import Ensemble
    from corrlib.sharing.estimates import Top

ACCEPTED, REFUSED, OPEN = ("yes", "y", "true", "1", "x"), ("no", "n", "false", "0"), ("",)
LIMIT = 1000  # pairs that are laid before a person
COLUMNS = (
    "caption_id",
    "query",
    "clip_id",
    "rank",
    "probability",
    "annotated_clip_id",
    "annotated_probability",
    "accept",
)


def missing_annotations(ensemble: "Ensemble", of_captions: "Top", own_similarity: torch.Tensor) -> pd.DataFrame:
    """Table of COLUMNS, most probable first: pairs that are not annotated and rank above the caption's own clip.

    of_captions: the estimate's most probable clips of each caption; own_similarity (captions,): mean similarity with
    the clip that it was written for. `accept` is empty: a person writes yes or no there, and `accepted_relevance`
    reads it.
    """
    clips, captions = ensemble.corpus.clips, ensemble.corpus.captions
    own = (own_similarity / ensemble.temperature - of_captions.log_normaliser).exp()
    own_rows = torch.from_numpy(pd.Index(clips["clip_id"]).get_indexer(pd.Index(captions["clip_id"])))
    preferred = (of_captions.row != own_rows[:, None]) & (of_captions.similarity > own_similarity[:, None])
    scores = torch.where(preferred, of_captions.probability, -1).flatten()
    probability, pairs = scores.topk(min(LIMIT, int(preferred.sum())))
    caption_rows, places = pairs // preferred.shape[1], pairs % preferred.shape[1]
    asked = captions.iloc[caption_rows.numpy()]
    return pd.DataFrame(
        {
            "caption_id": asked["caption_id"].to_numpy(),
            "query": asked["text"].to_numpy(),
            "clip_id": clips["clip_id"].to_numpy()[of_captions.row[caption_rows, places].numpy()],
            "rank": places.numpy() + 1,
            "probability": probability.numpy(),
            "annotated_clip_id": asked["clip_id"].to_numpy(),
            "annotated_probability": own[caption_rows].numpy(),
            "accept": "",
        },
        columns=list(COLUMNS),
    )


def accepted_relevance(reviewed: str | Path, to: str | Path) -> int:
    """Write what a person accepted as a CSV `query, audio_filenames` that a run's `relevance` takes; how many queries.

    reviewed: missing_annotations.csv with yes or no in `accept`. A caption counts once one of its rows is decided; its
    relevant clips are its own and those accepted. ValueError names a decision that is neither, or that there is none.
    """
    rows = read_csv(reviewed, COLUMNS).map(without_apostrophe)
    decisions = rows["accept"].str.strip().str.lower()
    unclear = rows[~decisions.isin([*ACCEPTED, *REFUSED, *OPEN])]
    if len(unclear):
        raise ValueError(
            f"{reviewed} has '{shown(unclear['accept'].iloc[0])}' in line {unclear.index[0] + 2} of `accept`; "
            "write yes or no, or leave it empty"
        )
    decided = rows[~decisions.isin(OPEN)]
    if decided.empty:
        raise ValueError(f"{reviewed} has no decision yet; write yes or no in its column `accept`")
    queries = []
    for _, group in decided.groupby("caption_id", sort=False):
        accepted = group["clip_id"][decisions[group.index].isin(ACCEPTED)]
        names = [name.split("/", 2)[-1] for name in (group["annotated_clip_id"].iloc[0], *accepted)]
        queries.append({"query": group["query"].iloc[0], "audio_filenames": repr(list(dict.fromkeys(names)))})
    write_atomically(to, csv_of(pd.DataFrame(queries)))
    return len(queries)
