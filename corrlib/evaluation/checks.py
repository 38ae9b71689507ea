"""What functions of similarities and embeddings refuse, on the same terms: nothing is ranked by what is no number."""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Numbers = torch.Tensor | np.ndarray | Sequence

WHOLE = {torch.float32: 2**24, torch.float64: 2**53}  # up to which a type tells all whole numbers apart


def real_numbers(values: Numbers, name: str) -> torch.Tensor:
    """The values as a tensor of finite floating-point numbers: those of `floating`, checked by `refuse_not_finite`."""
    found = floating(values, name)
    refuse_not_finite(found, name)
    return found


def floating(values: Numbers, name: str) -> torch.Tensor:
    """The values as a floating-point tensor; floating-point ones stay as they are.

    Whole numbers become float32 where it tells them apart, else float64. ValueError for booleans (an annotated matrix
    in place of a similarity), complex numbers, what is no number, and whole numbers that float64 would merge.
    """
    found = as_tensor(values, name)
    if found.is_floating_point():
        return found
    if found.dtype == torch.bool or found.is_complex():
        kind = "booleans" if found.dtype == torch.bool else "complex numbers"
        raise ValueError(f"{name} holds {kind}; give real numbers")
    exact = found.double()
    largest = float(exact.abs().max()) if exact.numel() else 0.0
    if largest > WHOLE[torch.float64]:
        raise ValueError(f"{name} holds whole numbers above 2^53, which cannot be told apart; scale them to [-1, 1]")
    return exact if largest > WHOLE[torch.float32] else exact.float()


def booleans(values: Numbers, name: str) -> torch.Tensor:
    """The values as a boolean tensor; ValueError where one is neither true nor false, 1 nor 0."""
    found = as_tensor(values, name)
    if found.dtype == torch.bool:
        return found
    if found.is_complex() or not bool(((found == 0) | (found == 1)).all()):
        raise ValueError(f"{name} holds what is neither true nor false; give booleans, or 1 and 0")
    return found == 1


def graded(values: Numbers, name: str) -> torch.Tensor:
    """Relevance or truth as a floating-point tensor: booleans as 1 and 0; ValueError where one is not in [0, 1]."""
    found = as_tensor(values, name)
    if found.is_complex():
        raise ValueError(f"{name} holds complex numbers; give booleans, or numbers in [0, 1]")
    found = found if found.is_floating_point() else found.float()
    if not bool(((found >= 0) & (found <= 1)).all()):
        raise ValueError(f"{name} holds a value outside [0, 1]; scale it so that 1 is a full match")
    return found


def as_tensor(values: Numbers, name: str) -> torch.Tensor:
    """A tensor, an array, a list of numbers or of tensors as one tensor; ValueError where it is none of these.

    Numbers of lists are float64, as Python's are.
    """
    try:
        if isinstance(values, torch.Tensor):
            return values if values.layout == torch.strided else values.to_dense()
        if isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
            return torch.stack(list(values))
        return torch.as_tensor(np.require(values, requirements=["C", "W"]))  # torch knows no negative strides
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is no array of numbers ({' '.join(str(error).split())}); give real numbers") from None


def as_array(values: torch.Tensor) -> np.ndarray:
    """A tensor as an array; numpy knows no bfloat16, which becomes float32."""
    found = values.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()


def refuse_not_finite(values: torch.Tensor, name: str) -> None:
    """ValueError where a value is nan or infinite."""
    # a sum is quicker than a look at each, and not finite where one of them is not
    if not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{name} holds a value that is not finite, so nothing can be ranked by it; "
            "look for a training run that diverged"
        )


def refuse_temperature(temperature: Any, name: str = "temperature") -> None:
    """ValueError unless it is a finite number greater than 0."""
    given: Any = temperature.item() if isinstance(temperature, torch.Tensor) and temperature.ndim == 0 else temperature
    real = isinstance(given, numbers.Real) and not isinstance(given, bool)
    if not real or not (math.isfinite(given) and float(given) > 0):
        raise ValueError(f"{name} is {given!r}; it must be a finite number greater than 0")


def refuse_too_cold(largest: float, temperature: float, dtype: torch.dtype) -> None:
    """ValueError where a temperature is so near 0 that a similarity of size `largest` over it is infinite in `dtype`.

    Its softmax would be nan.
    """
    if largest / float(temperature) > torch.finfo(dtype).max / 2:
        raise ValueError(
            f"temperature is {float(temperature)}, so near 0 that a similarity of {largest:.3g} over it is no finite "
            "number; make it greater"
        )


def refuse_count(k: Any, count: int, things: str) -> None:
    """ValueError unless k is a whole number from 1 to `count`, the number of `things`."""
    if not is_whole(k) or not 1 <= k <= count:
        raise ValueError(f"k is {k!r}; of {count} {things} it must be from 1 to {count}, a whole number")


def refuse_below_one(number: Any, name: str) -> None:
    """ValueError unless it is a whole number of 1 or more."""
    if not is_whole(number) or number < 1:
        raise ValueError(f"{name} is {number!r}; it must be a whole number of 1 or more")


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, and not one in name (2.0, "2", True)."""
    try:
        operator.index(number)
    except TypeError:
        return False
    return not isinstance(number, bool | np.bool_)


def refuse_rows(rows: torch.Tensor | Sequence[int] | slice, count: int, name: str) -> None:
    """ValueError unless row numbers are whole and from 0 to count - 1: one below 0 would count from the end."""
    if isinstance(rows, slice):
        return
    found = as_tensor(rows, name)
    if found.dtype == torch.bool and found.shape == (count,):
        return
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool) or not found.numel()
    if found.ndim != 1 or not whole or bool(((found < 0) | (found >= count)).any()):
        raise ValueError(f"{name} must be row numbers from 0 to {count - 1}, one after another")
