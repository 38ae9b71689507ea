"""What of a network is trained: all of it, its last layers, or nothing but the head behind it."""

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import nn

HIDDEN = 4  # hidden units of a two-layer head over the embedding's size


def keep_fixed(
    network: nn.Module, what: str, layers: Sequence[nn.Module], last_modules: Iterable[nn.Module] = ()
) -> list[nn.Module]:
    """Take the gradient from what is not trained; returns the modules that are to stay in evaluation mode.

    what: `all`, `heads` (nothing of the network) or `last:<n>` (its last n layers, and what comes behind them).
    layers: of the network, first to last; last_modules: those that come behind. ValueError where there are no n layers.
    """
    if what == "all":
        return []
    network.requires_grad_(False)
    count = _last(what)
    if count is None:
        return [network]
    if count > len(layers):
        raise ValueError(f"'{what}' asks for more layers than the network's {len(layers)}; choose fewer, or 'all'")
    trained = [*layers[len(layers) - count :], *last_modules]
    for module in trained:
        module.requires_grad_(True)
    inside = {id(part) for module in trained for part in module.modules()}
    around = {id(part) for part in network.modules() if any(id(child) in inside for child in part.modules())}
    return [part for part in network.modules() if id(part) not in inside and id(part) not in around]


def _last(what: str) -> int | None:
    """n of `last:<n>`, None of `heads`."""
    return int(what.removeprefix("last:")) if what.startswith("last:") else None


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The layers of a network that does not name them: its longest list of modules."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=()))


def head(inputs: int, outputs: int, layers: Literal[1, 2] = 1) -> nn.Module:
    """The map from features (B, inputs) to the shared space (B, outputs): linear, or a perceptron of two layers."""
    if layers == 1:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, HIDDEN * outputs), nn.GELU(), nn.Linear(HIDDEN * outputs, outputs))
