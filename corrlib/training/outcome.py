"""What a step of training came to, read a step later: so the CPU never waits for the GPU, nor the GPU for the CPU."""

import torch
from torch import Tensor

from corrlib.corpora.batches import Batch


class Outcome:
    """Loss, norm of the gradient and scale of the loss (1, but for float16) of a step, on their way from the device.

    loss, norm, scale: scalars there; step: the step's number, and batch: what it learned from.
    """

    def __init__(self, batch: Batch, step: int, loss: Tensor, norm: Tensor, scale: Tensor) -> None:
        self.batch, self.step = batch, step
        numbers = torch.stack([loss.detach().double(), norm.double(), scale.double()])
        self._numbers = numbers.to("cpu", non_blocking=numbers.is_cuda)  # into page-locked memory
        self._arrived = torch.cuda.Event() if numbers.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> list[float]:
        """[loss, norm, scale], once the device has got so far."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.tolist()
