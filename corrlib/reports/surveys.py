"""What a corpus contains, as tables: splits, ambiguity of captions, examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from corrlib import soundscapes
from corrlib.corpora import audit, list_corpus, splits_of
from corrlib.corpora.audio import read_clip
from corrlib.corpora.auditing import lengths_of
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.exclusions import leave_out, matches
from corrlib.evaluation.metrics import oracle_ceiling
from corrlib.study.parameters import DataParameters


def open_splits(parameters: DataParameters) -> tuple[dict[str, Corpus], pd.DataFrame, pd.DataFrame]:
    """({split: Corpus} of a data run, the audit's table, the excluded clips); nothing is audited if text_only.

    ValueError where more clips than the share `tolerance` cannot be used.
    """
    if parameters.text_only:
        listed = {split: _listed(parameters, split) for split in splits_of(parameters.corpus)}
        _tell_excluded(parameters, listed)
        return listed, pd.DataFrame(), pd.concat([c.excluded for c in listed.values()], ignore_index=True)
    splits, tables = {}, []
    for split in splits_of(parameters.corpus):
        splits[split], table = audit(_listed(parameters, split), parameters.tolerance, lengths_of(parameters.data))
        tables.append(table)
    _tell_excluded(parameters, splits)
    excluded = pd.concat([corpus.excluded for corpus in splits.values()], ignore_index=True)
    return splits, pd.concat(tables, ignore_index=True), excluded


def _listed(parameters: DataParameters, split: str) -> Corpus:
    listed = list_corpus(parameters.corpus, parameters.data, split, audio=not parameters.text_only)
    return leave_out(listed, parameters.exclude)


def _tell_excluded(parameters: DataParameters, splits: Mapping[str, Corpus]) -> None:
    """One line of what a list of FreeSound ids rules out, and what of it matches nothing."""
    if parameters.exclude:
        found = matches(parameters.exclude, splits.values())
        print(
            f"exclude: of {sum(found.values())} FreeSound ids in {parameters.exclude}, {found['left out']} are of "
            f"training clips, which are left out; {found['in other splits']} of clips of other splits, which stay; "
            f"{found['in none']} match nothing"
        )


def overview(splits: Mapping[str, Corpus]) -> pd.DataFrame:
    """One row a split: clips, captions, hours and median seconds (nan without audio), words a caption, different
    words and captions.
    """
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
                "words a caption": words.map(len).mean(),
                "different words": words.explode().nunique(),
                "different captions": corpus.captions["text"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def licences(splits: Mapping[str, Corpus]) -> pd.DataFrame:
    """Clips of each licence (rows) by split (columns); empty where the corpus does not give licences."""
    given = {
        split: corpus.metadata["licence"].value_counts()
        for split, corpus in splits.items()
        if "licence" in corpus.metadata
    }
    return pd.DataFrame(given).fillna(0).astype(int)


def words(splits: Mapping[str, Corpus], count: int = 15) -> pd.DataFrame:
    """The most frequent words of all captions, those of fewer than four letters left out: columns word, times."""
    texts = pd.concat([corpus.captions["text"] for corpus in splits.values()])
    times = texts.str.lower().str.findall(r"\w{4,}").explode().value_counts()
    return times.head(count).rename_axis("word").rename("times").reset_index()


def shared_word_for_word(corpus: Corpus) -> float:
    """Share of captions whose very words are also annotated for another clip: the least that is shared for sure."""
    clips = corpus.captions.groupby(corpus.captions["text"].str.lower().str.strip())["clip_id"].transform("nunique")
    return float((clips > 1).mean())


def truth_of(parameters: DataParameters, split: str) -> np.ndarray | None:
    """True correspondence (clips, captions) in [0, 1] of a split, or None where it is not known."""
    return soundscapes.load_truth(parameters.data, split) if parameters.corpus == "soundscapes" else None


def annotated(corpus: Corpus) -> np.ndarray:
    """(clips, captions) bool: which caption was written for which clip."""
    return corpus.clips["clip_id"].to_numpy()[:, None] == corpus.captions["clip_id"].to_numpy()[None, :]


def first_scenes(corpus: Corpus, count: int) -> dict[str, np.ndarray]:
    """{file name: waveform (samples,) at 32 kHz} of a split's first clips."""
    rows: list[Any] = list(corpus.clips.head(count).itertuples())
    return {row.clip_id.rsplit("/", 1)[-1]: read_clip(row.path) for row in rows}


def first_captions(corpus: Corpus) -> dict[str, str]:
    """{file name: the first caption of the clip}."""
    first = corpus.captions.groupby("clip_id", sort=False)["text"].first()
    return {str(clip_id).rsplit("/", 1)[-1]: text for clip_id, text in first.items()}


def ambiguity(corpus: Corpus, truth: np.ndarray | None) -> dict[str, Any]:
    """How much captions describe other clips, and what that allows at most; {} where nobody knows the truth.

    truth: (clips, captions). Returns clips, the median and mean number of clips that a caption describes wholly, the
    shares of captions that describe one clip alone and of pairs that match in part, and `ceilings`, the oracle's
    metrics.
    """
    if truth is None:
        return {}
    is_annotated = annotated(corpus)
    whole = (truth >= 1).sum(0)
    best = np.minimum(whole, 10) / whole
    ceilings = {f"annotated {name}": value for name, value in oracle_ceiling(truth, is_annotated).items()}
    return {
        "clips": int(truth.shape[0]),
        "median_wholly": float(np.median(whole)),
        "mean_wholly": float(whole.mean()),
        "share_unique": float((whole == 1).mean()),
        "share_partly": float(((truth > 0) & (truth < 1)).mean()),
        "ceilings": {**ceilings, "true mAP@10": float(best.mean()), "true nDCG@10": 1.0},
    }


def pair_shares(truth: np.ndarray) -> dict[str, float]:
    """{wholly, partly, not at all: share of all pairs of clip and caption}. truth: (clips, captions)."""
    wholly, not_at_all = float((truth >= 1).mean()), float((truth == 0).mean())
    return {"wholly": wholly, "partly": 1 - wholly - not_at_all, "not at all": not_at_all}


def shared_captions(corpus: Corpus, truth: np.ndarray | None, count: int = 8) -> pd.DataFrame:
    """Captions at equal steps, each with the clips that it was not written for but describes wholly.

    truth: (clips, captions). Columns caption, `other clips it describes`, `for example` (a clip_id).
    """
    if truth is None:
        return pd.DataFrame()
    rows = []
    for column in range(0, truth.shape[1], max(1, truth.shape[1] // count)):
        home = corpus.captions["clip_id"].iloc[column]
        others = np.flatnonzero((truth[:, column] >= 1) & (corpus.clips["clip_id"] != home))
        rows.append(
            {
                "caption": corpus.captions["text"].iloc[column],
                "other clips it describes": len(others),
                "for example": corpus.clips["clip_id"].iloc[others[0]] if len(others) else "",
            }
        )
    return pd.DataFrame(rows)


def examples_to_hear(corpus: Corpus, truth: np.ndarray, count: int = 3) -> list[tuple[str, int, int]]:
    """[(caption, its own clip, another that it describes wholly)], evenly spread over the captions; clips as row
    numbers.
    """
    row = pd.Series(range(len(corpus.clips)), index=corpus.clips["clip_id"])
    home = row.loc[corpus.captions["clip_id"]].to_numpy()
    examples: list[tuple[str, int, int]] = []
    for column in range(0, truth.shape[1], max(1, truth.shape[1] // count)):
        others = np.flatnonzero(truth[:, column] >= 1)
        others = others[others != home[column]]
        if len(others) and len(examples) < count:
            examples.append((corpus.captions["text"].iloc[column], int(home[column]), int(others[0])))
    return examples


def answer(table: pd.DataFrame, survey: Mapping[str, Any], shared: float) -> str:
    """The notebook's answer, rendered from its numbers.

    table: as `overview`; survey: as `ambiguity`; shared: as `shared_word_for_word`.
    """
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
