"""What a retrieval challenge is sent: for every query the best clips of a folder, or the similarities with all."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from corrlib.corpora.tables import read_csv
from corrlib.evaluation.search import nearest
from corrlib.files import write_atomically
from corrlib.sharing.library import SoundFolder
from corrlib.sharing.model import RetrievalModel

COLUMN = "caption"  # of a table of queries, and of what is sent
CLIPS = 10  # a query is answered by, as DCASE asked from 2022 to 2024


class Submission:
    """Queries and the sounds of a folder, as one model embeds them or several do, whose similarities are averaged.

    files: the sounds' names without their folders, as a challenge lists them; skipped: DataFrame `file`, `reason`, see
    SoundFolder, which embeds each sound once.

    ValueError where two sounds have one name, where models cannot read the same sounds, or where there is no query.
    """

    def __init__(
        self, models: Sequence[RetrievalModel], queries: Sequence[str], clips: str | Path, progress: bool = False
    ) -> None:
        if not queries:
            raise ValueError("there is no query; give at least one caption")
        folders = [SoundFolder(model, clips, progress=progress) for model in models]
        self.queries, self.skipped = list(queries), folders[0].skipped
        self.files = [Path(name).name for name in folders[0].sounds["file"]]
        name, times = Counter(self.files).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{clips} holds {times} sounds named {name}; give a folder in which each has its own name")
        for model, folder in zip(models, folders, strict=True):
            if other := set(folder.sounds["file"]) ^ set(folders[0].sounds["file"]):
                raise ValueError(
                    f"{model.name} and {models[0].name} cannot read the same sounds ({min(other)}); take that one out"
                )
        # one after the other, embeddings have the sum of the models' inner products for theirs
        self._clips = torch.cat([folder.embeddings for folder in folders], 1)
        self._queries = torch.cat([model.embed_captions(self.queries) for model in models], 1) / len(models)

    def best(self, clips: int = CLIPS) -> pd.DataFrame:
        """`caption, file_name_1, ..., file_name_<clips>`, a row a query: what DCASE was sent from 2022 to 2024.

        ValueError where the folder has fewer sounds.
        """
        if not 1 <= clips <= len(self.files):
            raise ValueError(f"there are {len(self.files)} sounds to choose from, so no {clips} best; choose fewer")
        _, rows = nearest(self._queries, self._clips, clips)
        names = [[self.files[row] for row in best] for best in rows.tolist()]
        table = pd.DataFrame(names, columns=[f"file_name_{place}" for place in range(1, clips + 1)])
        table.insert(0, COLUMN, self.queries)
        return table

    def similarities(self) -> pd.DataFrame:
        """`index` (the caption) and a column of each file, its similarity: as the baseline of DCASE 2025 writes it."""
        similarity = self._queries @ self._clips.T
        return pd.DataFrame(similarity.numpy(), pd.Index(self.queries, name="index"), self.files).reset_index()


def read_queries(path: str | Path) -> list[str]:
    """The captions of a list: the column `caption` of a CSV, or a text, one a line; blank ones are left out.

    FileNotFoundError or ValueError names what is missing or wrong.
    """
    path = Path(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        captions = read_csv(path, [COLUMN])[COLUMN].tolist()
    else:
        try:
            captions = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except FileNotFoundError:
            raise FileNotFoundError(f"list {path} does not exist; name a CSV or a text of captions") from None
        except (OSError, ValueError):
            raise ValueError(f"{path} is no text in UTF-8; give a text of captions, one a line") from None
    kept = [caption for caption in captions if caption.strip()]
    if not kept:
        raise ValueError(f"{path} holds no caption; write one a line")
    return kept


def write_submission(table: pd.DataFrame, to: str | Path) -> None:
    """The table as CSV. Captions stay as they were asked, by which a challenge knows them: none is made harmless for a
    spreadsheet.
    """
    bare = table.iloc[:, 0].str.contains("\r", regex=False).any()  # which pandas would leave without quotes
    write_atomically(to, table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL))
