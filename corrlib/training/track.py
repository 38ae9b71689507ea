"""The epochs of a run as TensorBoard reads them, in the run's own folder: nothing leaves the machine."""

import time
from types import TracebackType
from typing import Any, Self

from corrlib.study.manifest import EVENTS
from corrlib.study.runs import RunFolder

TRAINING = ("loss", "seconds")  # of a log's columns: drawn apart from what is measured on validation


class Track:
    """Event files of a run, `tensorboard --logdir runs/<study>`, to which every epoch is added as it ends.

    run: whose folder they lie in; None, or a `kind` other than `tensorboard`, writes nothing. log: rows of log.csv, of
    the epochs that a resumed run goes on from. The files of an earlier start are removed and these epochs written anew,
    so that none is drawn twice, and none that was lost. To be used in a `with` block.

    ImportError says how to get tensorboard.
    """

    def __init__(self, run: RunFolder | None, kind: str, log: list[dict[str, float]]) -> None:
        self._writer: Any = None
        if run is None:
            return
        for path in run.folder.glob(EVENTS):
            path.unlink(missing_ok=True)
        if kind != "tensorboard":
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "tensorboard is not installed; `pip install tensorboard`, or leave `track` empty"
            ) from None
        self._writer = SummaryWriter(str(run.folder))
        since = time.time() - sum(row["seconds"] for row in log)
        for row in log:
            since += row["seconds"]
            self.add(row, since)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: dict[str, float], at: float | None = None) -> None:
        """An epoch, as a row of log.csv; at: the time at which it ended, now if not given."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                group = (
                    "training" if name in TRAINING else "validation" if name.startswith("validation ") else "watched"
                )
                tag = f"{group}/{name.removeprefix('validation ')}"
                self._writer.add_scalar(tag, value, int(row["epoch"]), walltime=at)
        self._writer.flush()
