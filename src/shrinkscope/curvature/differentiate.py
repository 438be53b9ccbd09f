"""First and second derivatives along a direction by forward mode, and curvlinops, which is loaded when needed."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from shrinkscope.curvature.attention import unfused
from shrinkscope.errors import CurvatureError


def along(function: Callable[[Any], Tensor], at: Any, tangent: Any) -> tuple[Tensor, Tensor]:
    """Value of a function and its derivative along a tangent, entry by entry.

    Args:
        function: Of one tensor, or of a dictionary of tensors.
        at: Where.
        tangent: The direction, like ``at``.
    """
    _load_forward_mode()
    value, derivative, *_ = jvp(function, (at,), (tangent,))
    return value, derivative


def second_along(function: Callable[[Any], Tensor], at: Any, tangent: Any) -> Tensor:
    """Second derivative of a function along a tangent, entry by entry: forward mode applied twice.

    Args:
        function: Of one tensor, or of a dictionary of tensors.
        at: Where.
        tangent: The direction, like ``at``.
    """
    return along(lambda point: along(function, point, tangent)[1], at, tangent)[1]


@contextmanager
def second_derivatives(description: str) -> Iterator[None]:
    """Turn what torch says about missing derivatives or memory into an error of ours.

    Args:
        description: What is computed.

    Raises:
        CurvatureError: If torch fails.
    """
    try:
        # Of torch's kernels for attention only the one written out in operations has derivatives in forward mode.
        with unfused(), sdpa_kernel(SDPBackend.MATH):
            yield
    except (RuntimeError, NotImplementedError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        advice = "use layers and a loss that torch can differentiate twice, in forward mode over reverse mode"
        if isinstance(error, torch.OutOfMemoryError):
            advice = "take smaller batches, or one layer instead of the network"
        raise CurvatureError(f"{description} cannot be computed: {what}; {advice}") from error


@functools.cache
def load_curvlinops() -> ModuleType:
    """The package curvlinops: loaded here alone, because that takes a second."""
    _load_forward_mode()
    with _quiet():
        import curvlinops
    return curvlinops


@functools.cache
def _load_forward_mode() -> None:
    # The first derivative in forward mode makes torch compile its decompositions with its own deprecated compiler.
    with _quiet():
        jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))


@contextmanager
def _quiet() -> Iterator[None]:
    """Nobody who uses this library can do anything about the calls of torch.jit.script within torch and curvlinops."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=category)
        yield
