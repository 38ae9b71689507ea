"""The exact gradient of a large batch in the memory of a small one (gradient caching; Gao et al. 2021, arXiv
2101.06983).

A contrastive loss needs all embeddings of a batch at once, but no two clips' networks at once. So the parts of a batch
are embedded without a graph, the loss gives the gradient of every embedding, and each part is embedded once more, with
a graph, to carry its share of it into the parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Draws = tuple[Tensor, Tensor | None]  # states of the random generators of CPU and GPU


class Parts:
    """Embeddings of a batch in parts, and their way back.

    functions: one a part, without arguments, -> (rows, E); model: what they run, for its BatchNorm and its device.
    One part alone is embedded once, in the usual way.
    """

    def __init__(self, functions: Sequence[Callable[[], Tensor]], model: nn.Module) -> None:
        self.functions, self.model = functions, model
        self.device = next(model.parameters()).device
        self.states: list[Draws] = []
        self.leaf: Tensor | None = None

    def embed(self) -> Tensor:
        """(rows of all parts, E), from which a loss can be computed and sent backwards."""
        if len(self.functions) == 1:
            return self.functions[0]()
        embeddings = []
        with torch.no_grad(), frozen_statistics(self.model):
            for function in self.functions:
                self.states.append(self._draws())
                embeddings.append(function())
        self.leaf = torch.cat(embeddings).requires_grad_()
        return self.leaf

    def backward(self) -> None:
        """After the loss's backward: carry the gradient of the embeddings into the model's parameters."""
        if self.leaf is None:
            return
        assert self.leaf.grad is not None
        end, start = self._draws(), 0
        for function, state in zip(self.functions, self.states, strict=True):
            self._set_draws(state)  # the same dropout and patchout as the first time
            embeddings = function()
            embeddings.backward(self.leaf.grad[start : start + len(embeddings)].to(embeddings.dtype))
            start += len(embeddings)
        self._set_draws(end)

    def _draws(self) -> Draws:
        gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return torch.get_rng_state(), gpu

    def _set_draws(self, state: Draws) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorm's running means stand still: what is computed twice counts once."""
    before = [
        (m, m.momentum, m.num_batches_tracked.clone())
        for m in model.modules()
        if isinstance(m, nn.BatchNorm2d) and m.num_batches_tracked is not None
    ]
    for norm, _, _ in before:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches
