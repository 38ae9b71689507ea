"""What a corpus contains, as tables: splits, ambiguity of captions, examples."""

from pathlib import Path

import numpy as np
import pandas as pd

from corrlib import soundscapes
from corrlib.corpora import audit, list_corpus, splits_of
from corrlib.corpora.audio import read_clip
from corrlib.evaluation.metrics import oracle_ceiling


def open_splits(parameters):
    """({split: Corpus} of a data run, the audit's table, the excluded clips); nothing is audited if text_only."""
    if parameters.text_only:
        listed = {
            s: list_corpus(parameters.corpus, parameters.data, s, audio=False) for s in splits_of(parameters.corpus)
        }
        return listed, pd.DataFrame(), pd.concat([c.excluded for c in listed.values()], ignore_index=True)
    splits, tables = {}, []
    for split in splits_of(parameters.corpus):
        listed = list_corpus(parameters.corpus, parameters.data, split)
        splits[split], table = audit(listed, parameters.tolerance, Path(parameters.data) / "cache")
        tables.append(table)
    excluded = pd.concat([corpus.excluded for corpus in splits.values()], ignore_index=True)
    return splits, pd.concat(tables, ignore_index=True), excluded


def overview(splits):
    """One row a split: clips, captions, hours, words a caption, different words."""
    rows = []
    for split, corpus in splits.items():
        words = corpus.captions["text"].str.lower().str.findall(r"\w+")
        seconds = corpus.clips["duration_seconds"]
        rows.append(
            {
                "split": split,
                "clips": len(corpus.clips),
                "captions": len(corpus.captions),
                "hours": seconds.sum(min_count=1) / 3600,
                "median seconds": seconds.median(),
                "words a caption": words.str.len().mean(),
                "different words": words.explode().nunique(),
                "different captions": corpus.captions["text"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def licences(splits):
    """Clips of each licence by split; empty where the corpus does not give licences."""
    given = {
        split: corpus.metadata["licence"].value_counts()
        for split, corpus in splits.items()
        if "licence" in corpus.metadata
    }
    return pd.DataFrame(given).fillna(0).astype(int)


def words(splits, count=15):
    """The most frequent words of all captions with their number, those of fewer than four letters left out."""
    texts = pd.concat([corpus.captions["text"] for corpus in splits.values()])
    found = texts.str.lower().str.findall(r"\w{4,}").explode().value_counts()
    return found.head(count).rename_axis("word").rename("times").reset_index()


def shared_word_for_word(corpus):
    """Share of captions whose very words are also annotated for another clip: the least that is shared for sure."""
    clips = corpus.captions.groupby(corpus.captions["text"].str.lower().str.strip())["clip_id"].transform("nunique")
    return float((clips > 1).mean())


def truth_of(parameters, split):
    """(clips, captions) true correspondence, or None where it is not known."""
    return soundscapes.load_truth(parameters.data, split) if parameters.corpus == "soundscapes" else None


def annotated(corpus):
    """(clips, captions) bool."""
    return corpus.clips["clip_id"].to_numpy()[:, None] == corpus.captions["clip_id"].to_numpy()[None, :]


def first_scenes(corpus, count):
    """{clip id: waveform at 32 kHz} of a split's first clips."""
    return {row.clip_id.rsplit("/", 1)[-1]: read_clip(row.path) for row in corpus.clips.head(count).itertuples()}


def ambiguity(corpus, truth):
    """How much captions describe other clips, and what that allows at most; {} where the truth is not known."""
    if truth is None:
        return {}
    own = annotated(corpus)
    whole = (truth >= 1).sum(0)
    best = np.minimum(whole, 10) / whole
    ceilings = {f"annotated {name}": value for name, value in oracle_ceiling(truth, own).items()}
    return {
        "clips": int(truth.shape[0]),
        "median_wholly": float(np.median(whole)),
        "mean_wholly": float(whole.mean()),
        "share_unique": float((whole == 1).mean()),
        "share_partly": float(((truth > 0) & (truth < 1)).mean()),
        "ceilings": {**ceilings, "true mAP@10": float(best.mean()), "true nDCG@10": 1.0},
    }


def shared_captions(corpus, truth, count=8):
    """Captions with a clip they were not written for but describe wholly."""
    if truth is None:
        return pd.DataFrame()
    rows = []
    for column in range(0, truth.shape[1], max(1, truth.shape[1] // count)):
        own = corpus.captions["clip_id"].iloc[column]
        others = np.flatnonzero((truth[:, column] >= 1) & (corpus.clips["clip_id"] != own))
        rows.append(
            {
                "caption": corpus.captions["text"].iloc[column],
                "other clips it describes": len(others),
                "for example": corpus.clips["clip_id"].iloc[others[0]] if len(others) else "",
            }
        )
    return pd.DataFrame(rows)


def examples_to_hear(corpus, truth, count=3):
    """[(caption, its own clip, another that it describes wholly)], evenly spread over the captions; clips as row
    numbers.
    """
    row = pd.Series(range(len(corpus.clips)), index=corpus.clips["clip_id"])
    own = row.loc[corpus.captions["clip_id"]].to_numpy()
    found = []
    for column in range(0, truth.shape[1], max(1, truth.shape[1] // count)):
        others = np.flatnonzero(truth[:, column] >= 1)
        others = others[others != own[column]]
        if len(others) and len(found) < count:
            found.append((corpus.captions["text"].iloc[column], int(own[column]), int(others[0])))
    return found


def answer(table, survey, shared):
    """The notebook's answer, rendered from its numbers; shared: see `shared_word_for_word`."""
    hours = table["hours"].sum(min_count=1)
    text = f"{table['clips'].sum():,} clips with {table['captions'].sum():,} captions, " + (
        "audio not at hand." if np.isnan(hours) else f"{hours:.1f} hours."
    )
    text += f" {100 * shared:.1f} % of the evaluation captions are annotated word for word for another clip too."
    if not survey:
        return text + " The truth of this corpus is not known; nobody has said which other clips a caption describes."
    return text + (
        f" A caption of the evaluation split wholly describes a median of {survey['median_wholly']:.0f} "
        f"(mean {survey['mean_wholly']:.0f}) of {survey['clips']:,} clips, though only one is annotated; "
        f"{100 * survey['share_partly']:.0f} % of all pairs match in part. So even an oracle reaches only "
        f"{100 * survey['ceilings']['annotated mAP@10']:.1f} % annotated mAP@10."
    )
