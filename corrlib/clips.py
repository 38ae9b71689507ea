"""A corpus as two tables, clips and captions; loader of ClothoV2's layout, which the built-in corpus shares."""
import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import soundfile

SPLITS = {"clotho": ("development", "validation", "evaluation"),
          "soundscapes": ("pretraining", "development", "validation", "evaluation")}


@dataclass(frozen=True)
class Corpus:
    """clips: clip_id, path, start_seconds, duration_seconds, corpus, split; captions: caption_id, clip_id, text."""

    clips: pd.DataFrame
    captions: pd.DataFrame

    def fingerprint(self):
        """Short hash of ids, captions and file sizes: equal for equal data, whatever folder it lies in."""
        digest = hashlib.sha256()
        for row in self.clips.itertuples(index=False):
            digest.update(f"{row.clip_id}\t{Path(row.path).stat().st_size}\n".encode())
        digest.update("\n".join(self.captions["text"]).encode())
        return digest.hexdigest()[:16]


def load_corpus(name, folder, split):
    """A split of corpus `name` in `folder`; errors name the file, column or name that is wrong, and the mend."""
    if name not in SPLITS:
        raise ValueError(f"unknown corpus '{name}'{_nearest(name, SPLITS)}")
    if split not in SPLITS[name]:
        raise ValueError(f"corpus '{name}' has no split '{split}'{_nearest(split, SPLITS[name])}")
    return _load_clotho(name, Path(folder), split)


def _nearest(word, known):
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def _load_clotho(name, folder, split):
    csv, audio = folder / f"clotho_captions_{split}.csv", folder / split
    for path, what in ((folder, "corpus folder"), (csv, "captions file"), (audio, "audio folder")):
        if not path.exists():
            raise FileNotFoundError(f"{what} {path} does not exist; put the corpus there or set `data` to its folder")
    table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    columns = ["file_name", *(f"caption_{i}" for i in range(1, 6))]
    for column in columns:
        if column not in table:
            raise ValueError(f"{csv} has no column '{column}', only {', '.join(table.columns)}; rename the column")
    _refuse(csv, table["file_name"][table["file_name"].duplicated()], "lists the file '{}' more than once")
    present = {p.name for p in audio.iterdir()}
    _refuse(csv, table["file_name"][~table["file_name"].isin(present)], "has captions of '{}', which is not in the "
            f"folder {audio}")
    captions = table.melt("file_name", columns[1:], var_name="number", value_name="text", ignore_index=False)
    captions = captions.sort_index(kind="stable")
    _refuse(csv, captions["file_name"][captions["text"].str.strip() == ""], "has an empty caption of '{}'")
    clip_id = name + "/" + split + "/" + captions["file_name"]
    captions = pd.DataFrame({"caption_id": clip_id + "#" + captions["number"].str[-1], "clip_id": clip_id,
                             "text": captions["text"]}).reset_index(drop=True)
    return Corpus(_clip_table(name, split, audio, table["file_name"]), captions)


def _refuse(csv, culprits, sentence):
    if len(culprits):
        more = f" (and {len(culprits) - 1} more)" if len(culprits) > 1 else ""
        raise ValueError(f"{csv} {sentence.format(culprits.iloc[0])}{more}; restore the file or mend that line")


def _clip_table(name, split, audio, files):
    paths = [str(audio / f) for f in files]
    return pd.DataFrame({"clip_id": name + "/" + split + "/" + files, "path": paths, "start_seconds": 0.0,
                         "duration_seconds": [_seconds(p) for p in paths], "corpus": name, "split": split})


def _seconds(path):
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is not readable audio ({error.error_string}); replace or exclude this file") from None
