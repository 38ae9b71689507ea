"""What every part of the check is told."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Setup:
    """The device, whether sizes are tiny, how many processes share a batch, and a folder to write into."""

    device: torch.device
    rehearse: bool
    processes: int
    folder: Path

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def full(self) -> bool:
        """Whether speeds mean anything: the published sizes on a GPU."""
        return self.gpu and not self.rehearse
