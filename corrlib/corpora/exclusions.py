"""Training clips that a list of FreeSound ids rules out, such as the one that the DCASE challenge publishes."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from corrlib.corpora.corpus import Corpus
from corrlib.corpora.tables import need, read_csv, shown, tell

KNOW_IDS = ("clotho", "wavcaps")  # corpora whose tables tell FreeSound ids
COLUMNS = ("sound_id", "freesound_id", "id")  # as such lists call them
EXCLUDED = "excluded: FreeSound id "  # with which the reason begins


def read_ids(path: str | Path) -> set[str]:
    """The FreeSound ids of a CSV: of its column `sound_id`, `freesound_id` or `id`, or of the only one that it has,
    which needs no header.

    FileNotFoundError or ValueError names the file and what is wrong with it.
    """
    table = read_csv(need(path, "list of FreeSound ids", "put it there, or leave `exclude` out"), [])
    column = next((name for name in COLUMNS if name in table), table.columns[0] if len(table.columns) == 1 else None)
    if column is None:
        raise ValueError(
            f"{path} has no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, only "
            f"{shown(', '.join(table.columns))}; rename the one that holds FreeSound ids"
        )
    values = table[column].str.strip()
    if column.isdigit():
        values = pd.concat([pd.Series([column]), values])
    wrong = values[~values.str.fullmatch(r"\d+") & (values != "")]
    if len(wrong):
        raise ValueError(f"{path} holds '{shown(wrong.iloc[0])}', which is no FreeSound id; mend or remove that line")
    return {value.lstrip("0") for value in values} - {""}


def leave_out(corpus: Corpus, path: str | Path) -> Corpus:
    """A listed corpus without the clips whose FreeSound id a CSV names; how many these are is printed, once.

    Of the training split alone: such lists name the clips by which models are judged, too. FileNotFoundError where the
    table that tells ClothoV2's ids is missing; ValueError where no clip has an id.
    """
    if not path or set(corpus.clips["split"]) != {"development"}:
        return corpus
    excluded, ids = read_ids(path), freesound_ids(corpus)
    for name in set(corpus.clips["corpus"]) & set(KNOW_IDS):
        if not ids["clip_id"].str.startswith(f"{name}/").any():
            raise FileNotFoundError(
                f"exclude names {path}, but no table tells the FreeSound ids of {name}'s training clips "
                "(clotho_metadata_development.csv); put it there"
            )
    gone = ids[ids["id"].isin(excluded)].merge(corpus.clips[["clip_id", "path"]], on="clip_id")
    tell(f"exclude: {len(gone)} of {len(corpus.clips)} training clips have one of the {len(excluded)} ids in {path}")
    return corpus.without(gone.assign(reason=EXCLUDED + gone["id"])[["clip_id", "path", "reason"]])


def matches(path: str | Path, splits: Iterable[Corpus]) -> dict[str, int]:
    """Of the ids in a CSV, how many are those of clips that are left out, of other splits' clips, and of no clip.

    splits: corpora as they were listed, after `leave_out`.
    """
    excluded, there, gone = read_ids(path), set(), set()
    for corpus in splits:
        there |= set(freesound_ids(corpus)["id"]) & excluded
        reasons = corpus.excluded["reason"].astype(str)
        gone |= set(reasons[reasons.str.startswith(EXCLUDED)].str.removeprefix(EXCLUDED))
    return {"left out": len(gone), "in other splits": len(there - gone), "in none": len(excluded - there - gone)}


def freesound_ids(corpus: Corpus) -> pd.DataFrame:
    """clip_id, id of the clips whose FreeSound id is known."""
    found = [pd.DataFrame({"clip_id": [], "id": []}, dtype=str)]
    metadata = corpus.metadata
    if "freesound_id" in metadata:  # ClothoV2
        found.append(metadata[["clip_id"]].assign(id=metadata["freesound_id"]))
    if "source" in metadata:  # WavCaps
        found.append(metadata.loc[metadata["source"] == "FreeSound", ["clip_id", "id"]])
    ids = pd.concat(found, ignore_index=True).dropna()
    ids = ids.assign(id=ids["id"].str.strip().str.lstrip("0"))
    return ids[ids["id"].str.fullmatch(r"\d+") & ids["clip_id"].isin(corpus.clips["clip_id"])]
