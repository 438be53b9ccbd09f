"""What a method accepts: its options when it is built, and the weights that it is given."""

import math
import operator
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import SupportsIndex

import torch
from torch import Tensor

from shrinkscope.errors import CompressionError
from shrinkscope.weights import LayerSelection, LayersLike

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMES_SHOWN = 12


def as_fraction(what: str, value: object) -> float:
    """Return ``value`` as a float in [0, 1].

    Args:
        what: Name of the option, for the message.
        value: What the user gave.

    Raises:
        CompressionError: If it is no number, NaN, or outside [0, 1].
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0.0 <= float(value) <= 1.0:
        raise CompressionError(f"{what} is {value!r}; expected a fraction between 0 and 1, such as 0.3 for 30 %")
    return float(value)


def as_integer(what: str, value: object, lowest: int, highest: int | None = None) -> int:
    """Return ``value`` as an int between ``lowest`` and ``highest``.

    Args:
        what: Name of the option, for the message.
        value: What the user gave.
        lowest: Smallest value allowed.
        highest: Largest value allowed; no limit when None.

    Raises:
        CompressionError: If it is no whole number, or out of range.
    """
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        number = operator.index(value)
        if lowest <= number and (highest is None or number <= highest):
            return number
    limits = f"of at least {lowest}" if highest is None else f"between {lowest} and {highest}"
    raise CompressionError(f"{what} is {value!r}; expected a whole number {limits}")


def check_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Check that ``value`` is one of ``choices``.

    Args:
        what: Name of the option, for the message.
        value: What the user gave.
        choices: The values allowed.

    Raises:
        CompressionError: If it is not.
    """
    if value not in choices:
        raise CompressionError(f"{what} is {value!r}; expected one of {', '.join(choices)}")


def as_layers(layers: LayersLike) -> LayersLike:
    """Return a selection of layers in a hashable form.

    Args:
        layers: None, a glob, several globs or a LayerSelection.

    Raises:
        CompressionError: If it is something else.
    """
    if layers is None or isinstance(layers, (str, LayerSelection)):
        return layers
    if isinstance(layers, Sequence) and all(isinstance(glob, str) for glob in layers):
        return tuple(layers)
    raise CompressionError(
        f"layers is {layers!r}; expected a glob such as 'conv*', a list of globs or a LayerSelection"
    )


def check_floating(name: str, weight: Tensor) -> None:
    """Check that a weight is of a floating-point type that can be compressed.

    Args:
        name: The layer, for the message.
        weight: Its weight.

    Raises:
        CompressionError: If it is an integer, bool, complex or 8-bit float tensor.
    """
    if weight.dtype not in _DTYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        found = str(weight.dtype).removeprefix("torch.")
        raise CompressionError(f"{name} holds {found} values; expected one of {known}: leave it out with layers=…")


def check_finite(name: str, weight: Tensor) -> None:
    """Check that a weight can be ranked or measured.

    Args:
        name: The layer, for the message.
        weight: Its weight.

    Raises:
        CompressionError: If its type is wrong, or a value is NaN or infinite.
    """
    check_floating(name, weight)
    bad = weight.numel() - int(torch.isfinite(weight).sum())
    if bad:
        raise CompressionError(
            f"{name} has {bad} NaN or infinite values of {weight.numel()}, which have no magnitude to go by; "
            "repair the network or leave the layer out with layers=…"
        )


def rows(name: str, weight: Tensor) -> Tensor:
    """The weight as a matrix with one row for each output channel (dimension 0).

    Args:
        name: The layer, for the message.
        weight: Its weight.

    Returns:
        A view or copy of shape (output channels, everything else).

    Raises:
        CompressionError: If the weight is a single number without dimensions.
    """
    if weight.dim() == 0:
        raise CompressionError(f"{name} is a single number without output channels; leave it out with layers=…")
    # Not -1: a tensor without elements leaves it undetermined.
    return weight.reshape(weight.shape[0], math.prod(weight.shape[1:]))


def percent(fraction: float) -> str:
    """A fraction as text in percent with all its digits: 0.3 → ``"30 %"``."""
    return f"{(Decimal(repr(fraction)) * 100).normalize():f} %"


def listing(names: Iterable[str]) -> str:
    """Names for a one-line message: the first dozen and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")


def where(layers: LayersLike) -> str:
    """A selection of layers as the tail of a method's one-line name; empty when it selects everything."""
    selection = LayerSelection.of(layers)
    if selection == LayerSelection():
        return ""
    parts = [] if selection.include == ("*",) else [" ".join(selection.include)]
    parts += [f"not {' '.join(selection.exclude)}"] if selection.exclude else []
    parts += [f"roles {' '.join(selection.roles)}"] if selection.roles is not None else []
    return ", ".join(["", *parts])
