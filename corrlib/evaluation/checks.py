"""What functions of similarities and embeddings refuse, on the same terms: nothing is ranked by what is no number."""

import math
from collections.abc import Sequence

import numpy as np
import torch

Numbers = torch.Tensor | np.ndarray | Sequence


def real_numbers(values: Numbers, name: str) -> torch.Tensor:
    """The values as a tensor of finite floating-point numbers: those of `floating`, checked by `refuse_not_finite`."""
    numbers = floating(values, name)
    refuse_not_finite(numbers, name)
    return numbers


def floating(values: Numbers, name: str) -> torch.Tensor:
    """The values as a floating-point tensor: whole numbers become float32, floating-point ones stay as they are.

    ValueError for booleans (an annotated matrix in place of a similarity), complex numbers and what is no number.
    """
    numbers = as_tensor(values, name)
    if numbers.is_floating_point():
        return numbers
    if numbers.dtype == torch.bool or numbers.is_complex():
        kind = "booleans" if numbers.dtype == torch.bool else "complex numbers"
        raise ValueError(f"{name} holds {kind}; give real numbers")
    return numbers.float()


def as_tensor(values: Numbers, name: str) -> torch.Tensor:
    """A tensor, an array, a list of numbers or of tensors as one tensor; ValueError where it is none of these."""
    try:
        if isinstance(values, np.ndarray):
            return torch.as_tensor(np.ascontiguousarray(values))  # torch knows no negative strides
        if isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
            return torch.stack(list(values))
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array of numbers ({' '.join(str(error).split())}); give real numbers") from None


def refuse_not_finite(numbers: torch.Tensor, name: str) -> None:
    """ValueError where a value is nan or infinite."""
    # a sum is quicker than a look at each, and not finite where one of them is not
    if not bool(torch.isfinite(numbers.sum())) and not bool(torch.isfinite(numbers).all()):
        raise ValueError(
            f"{name} holds a value that is not finite, so nothing can be ranked by it; "
            "look for a training run that diverged"
        )


def refuse_temperature(temperature: float, name: str = "temperature") -> None:
    """ValueError unless it is a finite number greater than 0."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"{name} is {temperature}; it must be a finite number greater than 0")


def refuse_count(k: int, count: int, things: str) -> None:
    """ValueError unless k is from 1 to `count`, the number of `things`."""
    if not 1 <= k <= count:
        raise ValueError(f"k is {k}; of {count} {things} it must be from 1 to {count}")
