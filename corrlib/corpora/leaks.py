"""Training clips that are also held-out clips of another corpus: found by id, never by guess."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from corrlib.corpora import audiocaps, clotho
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.layouts import Tree


def in_evaluation(listed: Corpus, folders: Mapping[str, Path]) -> pd.DataFrame:
    """The clips of a listed WavCaps that ClothoV2 or AudioCaps hold: table `clip_id, path, reason`.

    folders: {corpus name: folder} of the corpora that are merged. FreeSound ids of every ClothoV2 split count (as
    published), and YouTube ids of AudioCaps' validation and test clips.
    """
    leaks = []
    ids = listed.metadata.merge(listed.clips[["clip_id", "path"]], on="clip_id")
    if "clotho" in folders:
        held = clotho_ids(folders["clotho"])
        rows = ids[(ids["source"] == "FreeSound") & ids["id"].isin(held)]
        leaks.append(rows.assign(reason="leak: in ClothoV2"))
    if "audiocaps" in folders:
        held = audiocaps_ids(folders["audiocaps"])
        rows = ids[(ids["source"] == "AudioSet_SL") & ids["id"].str.removeprefix("Y").isin(held)]
        leaks.append(rows.assign(reason="leak: in AudioCaps validation or test"))
    return (
        pd.concat(leaks)[["clip_id", "path", "reason"]]
        if leaks
        else ids.head(0).assign(reason="")[["clip_id", "path", "reason"]]
    )


def clotho_ids(folder: Path) -> set[str]:
    """FreeSound ids of all ClothoV2 splits; FileNotFoundError where the metadata that tells them is missing."""
    held, tree = set(), Tree(folder)
    for split in clotho.SPLITS:
        path = folder / f"clotho_metadata_{split}.csv"
        metadata = clotho.read_metadata(tree, split)
        if metadata is None or "freesound_id" not in metadata:
            raise FileNotFoundError(
                f"{path} is missing or has no sound_id, so WavCaps clips that are in ClothoV2 cannot be "
                "left out; download it there"
            )
        held |= set(metadata["freesound_id"].str.strip()) - {"", "Not found"}
    return held


def audiocaps_ids(folder: Path) -> set[str]:
    """YouTube ids of AudioCaps' validation and test clips."""
    listed = [audiocaps.list_audiocaps(folder, split).metadata["youtube_id"] for split in ("validation", "evaluation")]
    return set(pd.concat(listed))
