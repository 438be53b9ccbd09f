"""Trace of a curvature: exact where that is cheap, otherwise from random probes, with both of its errors."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor

from shrinkscope.curvature.base import Curvature
from shrinkscope.curvature.memory import check_memory
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.quantity import Quantity

_CHUNK = 2**24  # entries of the probes that are held at a time: 128 MiB


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Trace of a curvature: the sum of its eigenvalues.

    Attributes:
        trace: The trace; its standard error joins the two below.
        probe_error: Standard error over probes, 0 where none were needed.
        data_error: Standard error over samples, the samples being a draw from a population; None for one sample.
        probes: Random directions used; 0 where the trace is exact for the samples.
        samples: Number of samples.
        dimension: Number of weights.
    """

    trace: Quantity
    probe_error: float
    data_error: float | None
    probes: int
    samples: int
    dimension: int


def trace(
    curvature: Curvature,
    *,
    probes: int = 32,
    generator: torch.Generator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """The trace of a curvature in loss per weight².

    Exact for the samples for a last-layer Hessian and for at most ``probes`` weights; otherwise the mean of zᵀHz over
    directions z of random signs (Hutchinson).

    Args:
        curvature: The matrix.
        probes: Random directions, at least 2; each takes about four forward passes over the data.
        generator: Source of the signs; seed 0 when None.
        progress: Called after each pass over the data with the number of directions done.

    Returns:
        The trace with its standard error over probes and over samples.

    Raises:
        CurvatureError: If probes is below 2, torch lacks a derivative, or there is not enough memory.

    Source: Hutchinson (1990). The error over samples is that of each sample's mean over the probes, which contains a
        share of the first: together they are on the safe side.
    """
    if probes < 2:
        raise CurvatureError(f"probes = {probes}; expected at least 2, for a standard error")
    each = curvature.traces()
    if each is not None:
        return _joined(curvature, [each], torch.zeros(0, dtype=torch.float64), 0)
    exact = curvature.dimension <= probes
    number = curvature.dimension if exact else probes
    rows = max(2, min(number, _CHUNK // curvature.dimension))
    _check_fits(curvature, rows)
    generator = default_generator() if generator is None else generator
    of_samples, of_probes = [], []
    for start in range(0, number, rows):
        directions = _directions(curvature.dimension, start, min(rows, number - start), exact, generator)
        forms = curvature.along(directions)
        of_samples.append(forms.sum(dim=0) if exact else forms.mean(dim=0))
        of_probes.append(forms.mean(dim=1))
        if progress is not None:
            progress(start + len(directions))
    if exact:
        return _joined(curvature, [torch.stack(of_samples).sum(dim=0)], torch.zeros(0, dtype=torch.float64), 0)
    return _joined(curvature, of_samples, torch.cat(of_probes), number)


def _directions(dimension: int, start: int, rows: int, exact: bool, generator: torch.Generator) -> Tensor:
    if exact:
        return torch.eye(dimension, dtype=torch.float64)[start : start + rows]
    signs = torch.randint(2, (rows, dimension), generator=generator, device=generator.device, dtype=torch.int8)
    return signs.to("cpu", torch.float64).mul_(2).sub_(1)


def _joined(curvature: Curvature, of_samples: list[Tensor], of_probes: Tensor, probes: int) -> Trace:
    value = float(of_probes.mean()) if probes else float(of_samples[0].mean())
    probe_error = float(of_probes.std(correction=1)) / probes**0.5 if probes else 0.0
    data_error = None
    if curvature.samples > 1:
        # Each pass over the data separately: the samples need not come in the same order again.
        spread = torch.stack([values.var(correction=1) for values in of_samples]).mean()
        data_error = float(spread / curvature.samples) ** 0.5
    error = (probe_error**2 + (data_error or 0.0) ** 2) ** 0.5
    return Trace(
        trace=Quantity(
            value=value, unit=f"{curvature.unit} per weight²", status="estimate", standard_error=error or None
        ),
        probe_error=probe_error,
        data_error=data_error,
        probes=probes,
        samples=curvature.samples,
        dimension=curvature.dimension,
    )


def _check_fits(curvature: Curvature, rows: int) -> None:
    vectors = rows * curvature.dimension
    check_memory(
        f"the trace of {curvature.description} with {rows} directions at a time",
        2 * 8 * vectors + rows * 8 * curvature.samples + curvature.workspace,
        curvature.memory_limit,
        curvature.device,
        "take smaller batches, or one layer instead of the network",
    )
