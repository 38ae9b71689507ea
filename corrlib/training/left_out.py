"""Clips of the training split that cannot be read while a run goes on: named, counted, and left out from then on.

What a left-out clip does to a batch: its place is kept, by a copy of another clip's audio, so that shares, parts and
statistics of the batch are as they were; before the loss its row and the columns of its captions are taken out. The
order of all other clips, their crops and the schedule do not change. What is left out is kept in the checkpoint, so
that a resumed run goes on as the run would have gone on.
"""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from corrlib.corpora.auditing import PROBLEMS, AuditError, tolerate
from corrlib.corpora.batches import Batch, Items
from corrlib.corpora.corpus import Corpus

FILE = "left_out.csv"  # in the run's folder: clip_id, path, reason


class LeftOut:
    """What a run leaves out of its training split. corpus: the split as it is used; whole: as it lies on disk, whose
    clips and `tolerance` decide how many may be lost, together with those that the audit has left out.
    """

    def __init__(self, corpus: Corpus, whole: Corpus, tolerance: float) -> None:
        self.clips, self.whole, self.tolerance = corpus.clips, whole, tolerance
        self.reasons: dict[str, str] = {}  # by clip_id
        self._gone = torch.zeros(len(corpus.clips), dtype=torch.bool)

    def add(self, found: Mapping[int, str]) -> list[str]:
        """Leave out clips, {row number: what is wrong}; their ids, of those that are new.

        AuditError where these are more than the tolerance allows.
        """
        new = {self.clips["clip_id"].iloc[row]: sentence for row, sentence in found.items()}
        new = {clip_id: f"unreadable: {new[clip_id]}" for clip_id in new if clip_id not in self.reasons}
        self.load(self.reasons | new)
        if new:
            kinds = self.whole.excluded["reason"].astype(str).str.split(":").str[0]
            before = self.whole.excluded[kinds.isin(PROBLEMS)]
            listed = before.assign(corpus=before["clip_id"].astype(str).str.split("/").str[0])
            listed = pd.concat([self.whole.clips[["clip_id", "corpus"]], listed[["clip_id", "corpus"]]])
            tolerate(listed, pd.concat([self.table(), before]), self.whole.excluded, self.tolerance)
        return list(new)

    def load(self, reasons: Mapping[str, str]) -> None:
        """Go on with what was left out before, {clip_id: reason}."""
        self.reasons = dict(reasons)
        self._gone = torch.tensor(self.clips["clip_id"].isin(self.reasons).to_numpy())

    def table(self) -> pd.DataFrame:
        """clip_id, path, reason."""
        gone = self.clips.loc[self._gone.numpy(), ["clip_id", "path"]]
        return gone.assign(reason=gone["clip_id"].map(self.reasons)).reset_index(drop=True)

    def without(self, batch: Batch, items: Items, similarity: Tensor) -> tuple[Batch, Tensor]:
        """A batch, and its similarity (B, C), without the clips that are left out and their captions; AuditError where
        no clip is left.
        """
        if not self.reasons or not self._gone[batch.clip_rows].any():
            return batch, similarity
        clips = ~self._gone[batch.clip_rows]
        if not clips.any():
            raise AuditError(f"no clip of a batch can be read; first: {next(iter(self.reasons.values()))}")
        captions = ~self._gone[items.clip_of_caption[batch.caption_rows]]
        left = Batch(batch.clip_rows[clips], batch.caption_rows[captions], batch.annotated[clips][:, captions])
        device = similarity.device
        rows, columns = (kept.nonzero()[:, 0].to(device) for kept in (clips, captions))
        return left, similarity.index_select(0, rows).index_select(1, columns)
