"""Say in one phrase how an answer differs from the right one: type, shape, dtype, then values."""

import math
import numbers
from typing import Any

import torch
from torch import Tensor


def difference(given: Any, expected: Any, tolerance: float = 1e-4) -> str | None:
    """Say in what `given` is not `expected`, or return None where the two agree.

    Floats agree within tolerance * (1 + |expected|), whole numbers exactly; nan agrees with nan only. Where a
    plain number is expected, a tensor that holds one number will do. Neither argument is changed.
    """
    if isinstance(expected, Tensor):
        return _tensor_difference(given, expected, tolerance)
    if isinstance(expected, tuple | list):
        if not isinstance(given, tuple | list) or len(given) != len(expected):
            return f"{describe(given)}, expected {describe(expected)}"
        for k, (one, other) in enumerate(zip(given, expected, strict=True), start=1):
            if reason := difference(one, other, tolerance):
                return f"{reason} (this is value {k} of {len(expected)})"
        return None
    if _is_number(expected):
        if not _is_number(given):
            return f"{describe(given)}, expected a number"
        one, other = _to_float(given), _to_float(expected)
        close = math.isfinite(other) and abs(one - other) <= tolerance * (1 + abs(other))
        if close or one == other or (math.isnan(one) and math.isnan(other)):
            return None
        return f"{one:.4g}, expected {other:.4g} (tolerance {tolerance:g})"
    if type(given) is type(expected) and given == expected:
        return None
    return f"{describe(given)}, expected {describe(expected)}"


def describe(value: Any) -> str:
    """Name a value in a few words: what it is, and for a tensor its shape."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)} values"
    if isinstance(value, bool | str | None):
        return repr(value)
    if _is_number(value):
        return f"{_to_float(value):.4g}"
    if isinstance(value, type) or not callable(value):
        return f"something of type {type(value).__name__}"
    return "a function"


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _to_float(value: Any) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


def _tensor_difference(given: Any, expected: Tensor, tolerance: float) -> str | None:
    if not isinstance(given, Tensor):
        return f"{describe(given)}, expected {describe(expected)}"
    if given.shape != expected.shape:
        return f"a tensor of shape {tuple(given.shape)}, expected {tuple(expected.shape)}"
    if given.dtype != expected.dtype:
        return f"a tensor of {given.dtype}, expected {expected.dtype}"
    if not expected.is_floating_point():
        tolerance = 0.0
    given, expected = given.detach().cpu().double(), expected.detach().cpu().double()
    close = torch.isclose(given, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return None
    gap = (given - expected).abs().nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(close, -1)
    place = torch.unravel_index(gap.argmax(), gap.shape)  # where it is worst; () for a single number
    at = f" at {[int(k) for k in place]}" if place else ""
    return f"{given[place]:.4g}{at}, expected {expected[place]:.4g} (tolerance {tolerance:g})"
