"""An approximate index of very many embeddings, kept on disk, and how much it finds of what an exact search finds."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from corrlib.evaluation.search import FaissIndex, nearest, recall
from corrlib.files import derived

RECALL_AT, ENOUGH = 20, 0.95  # of the sounds that are judged, and the share of them that a search must find
SOUNDS = 64  # of the indexed sounds that are asked for others like them
FIRST_PROBES, POINTS = 16, 64  # lists that a query looks into at first; sounds a list from which k-means learns
# what people ask for; captions lie elsewhere than sounds do, so that their recall is another
CAPTIONS = (
    "a dog barks",
    "rain falls on a roof",
    "people talk in a restaurant",
    "birds sing in a forest",
    "a car passes by",
    "waves break on a beach",
    "a door creaks and closes",
    "somebody walks on gravel",
    "a bell rings in the distance",
    "a train passes over a bridge",
    "water runs into a sink",
    "a crowd cheers and claps",
    "wind blows through leaves",
    "a machine hums steadily",
    "a baby cries while a clock ticks",
    "thunder rumbles",
)


@dataclass(frozen=True)
class Recall:
    """Shares of the RECALL_AT best sounds that are found by sounds and by captions, with so many probes."""

    of_sounds: float
    of_captions: float
    probes: int


class ApproximateIndex:
    """faiss's index of embeddings (N, E), of unit length, in the folder `home` under `name`, made where it is missing.

    captions: embeddings (C, E) of CAPTIONS. As many lists are probed as find ENOUGH of the exact, for sounds and for
    captions. `name` must tell which embeddings, in which order. ImportError says how to get faiss.
    """

    def __init__(self, embeddings: torch.Tensor, captions: torch.Tensor, home: Path, name: str) -> None:
        self.rows = len(embeddings)
        lists = max(1, min(self.rows // 39, round(self.rows**0.5)))
        path = derived(
            home / f"{name}.faiss",
            lambda part: FaissIndex(embeddings, lists, FIRST_PROBES, POINTS).save(part),
        )
        self.index = FaissIndex.load(path)
        measured = derived(
            home / f"{name}.recall.json",
            lambda part: part.write_text(json.dumps(asdict(self._measured(embeddings, captions))), encoding="utf-8"),
        )
        self.recall = Recall(**json.loads(measured.read_text(encoding="utf-8")))
        self.index.probes = self.recall.probes

    def nearest(self, query: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As `corrlib.evaluation.search.nearest`, of one query (1, E), but perhaps fewer than k."""
        similarity, rows = self.index.nearest(query, k)
        found = rows[0] >= 0
        return similarity[:, found], rows[:, found]

    @cached_property
    def said(self) -> str:
        """What was measured, in words."""
        return (
            f"{self.rows:,} sounds are searched approximately: of the {RECALL_AT} that an exact search finds, "
            f"{100 * self.recall.of_sounds:.0f} % are found by a sound and {100 * self.recall.of_captions:.0f} % by a "
            f"caption ({self.recall.probes} of {self.index.lists} lists are looked into)"
        )

    def _measured(self, embeddings: torch.Tensor, captions: torch.Tensor) -> Recall:
        draw = torch.Generator().manual_seed(0)
        rows = torch.randperm(self.rows, generator=draw)[:SOUNDS]
        sounds, at = embeddings[rows], min(RECALL_AT, self.rows - 1)
        exact = nearest(torch.cat([sounds, captions]), embeddings, at + 1)[1]
        probes = min(FIRST_PROBES, self.index.lists)
        while True:
            self.index.probes = probes
            # a sound finds itself: that is no merit
            of_sounds = recall(self.index.nearest(sounds, at + 1)[1], exact[: len(sounds), 1:])
            of_captions = recall(self.index.nearest(captions, at)[1], exact[len(sounds) :, :at])
            if min(of_sounds, of_captions) >= ENOUGH or probes == self.index.lists:
                return Recall(of_sounds, of_captions, probes)
            probes = min(2 * probes, self.index.lists)
