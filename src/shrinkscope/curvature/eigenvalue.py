"""Extreme eigenvalues of a curvature: with residual, number of samples, and an error bar over resamples of the data."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor

from shrinkscope.curvature.base import Curvature
from shrinkscope.curvature.lanczos import DENSE, Eigenpair, End, Lanczos
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.samples import check_resamples
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.quantity import Quantity

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
_FRESH = 0.1  # of a warm start: enough that no eigenvector is missed because the start was orthogonal to it


class Eigenvalue(msgspec.Struct, frozen=True, kw_only=True):
    """An extreme eigenvalue of a curvature.

    Attributes:
        end: Which: largest, smallest, or largest magnitude (then ``eigenvalue`` and ``resampled`` are not negative).
        eigenvalue: That of all samples; the standard error is that of ``resampled``, and stands for the samples being
            a draw from a population.
        residual: |Hv − λv| for the unit eigenvector found, in the same unit.
        samples: Number of samples.
        dimension: Number of weights.
        products: Products taken for all samples together.
        resampled: The eigenvalue on each of disjoint random parts of the samples, samples/len(resampled) each. The
            largest eigenvalue is convex in the matrix: on parts it is larger on average.
    """

    end: End
    eigenvalue: Quantity
    residual: float
    samples: int
    dimension: int
    products: int
    resampled: tuple[float, ...]

    @property
    def sampling_bias(self) -> float | None:
        """How far sampling is expected to have moved the eigenvalue outwards; None without resamples.

        Parts of n/R samples lie farther out than all n on average. If the distance from the population goes as
        1/samples, the distance of the whole is 1/(R − 1) of that between the parts and the whole.
        """
        if not self.resampled:
            return None
        mean = sum(self.resampled) / len(self.resampled)
        return (mean - self.eigenvalue.value) / (len(self.resampled) - 1)


def largest_eigenvalue(
    curvature: Curvature,
    *,
    resamples: int = 8,
    tolerance: float | None = None,
    basis: int = 20,
    restarts: int = 300,
    generator: torch.Generator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Eigenvalue:
    """λ_max of a curvature, in loss per weight².

    Args:
        curvature: The matrix, from ``hessian``, ``gauss_newton`` or ``last_layer_hessian``.
        resamples: Disjoint parts of the samples on which it is computed again: their standard deviation over
            √resamples is the standard error. All parts together take as long as the whole. 0 for none.
        tolerance: Largest residual as a fraction of the spectral norm; 1e-6 in float64 and 1e-4 in float32 when None.
        basis: Lanczos vectors in memory.
        restarts: Most restarts of the search.
        generator: Source of the start and of the parts; seed 0 when None.
        progress: Called after each product with the number of products so far.

    Returns:
        The eigenvalue.

    Raises:
        CurvatureError: If the search does not converge, there is not enough memory, or there are fewer samples than
            resamples.

    Source: ARPACK through scipy; resamples answer Yao et al., PyHessian, issue 5 (159 … 1587 over ten draws).
    """
    search = _search(curvature, tolerance, basis, restarts)
    return _eigenvalue(curvature, "largest", search, resamples, generator, progress)


def smallest_eigenvalue(
    curvature: Curvature,
    *,
    resamples: int = 8,
    tolerance: float | None = None,
    basis: int = 20,
    restarts: int = 300,
    generator: torch.Generator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Eigenvalue:
    """λ_min of a curvature, in loss per weight²: negative where the loss bends down along some direction.

    Args:
        curvature: The matrix.
        resamples: As for ``largest_eigenvalue``.
        tolerance: As for ``largest_eigenvalue``.
        basis: As for ``largest_eigenvalue``.
        restarts: As for ``largest_eigenvalue``.
        generator: As for ``largest_eigenvalue``.
        progress: As for ``largest_eigenvalue``.

    Returns:
        The eigenvalue; its residual is a fraction of the spectral norm, which may exceed its own size.

    Raises:
        CurvatureError: As for ``largest_eigenvalue``.
    """
    search = _search(curvature, tolerance, basis, restarts)
    return _eigenvalue(curvature, "smallest", search, resamples, generator, progress)


def spectral_norm(
    curvature: Curvature,
    *,
    resamples: int = 8,
    tolerance: float | None = None,
    basis: int = 20,
    restarts: int = 300,
    generator: torch.Generator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Eigenvalue:
    """The spectral norm max |λ| of a curvature, in loss per weight²: |ΔᵀHΔ| ≤ max |λ| ‖Δ‖² for any H.

    Args:
        curvature: The matrix.
        resamples: As for ``largest_eigenvalue``.
        tolerance: As for ``largest_eigenvalue``.
        basis: As for ``largest_eigenvalue``.
        restarts: As for ``largest_eigenvalue``.
        generator: As for ``largest_eigenvalue``.
        progress: As for ``largest_eigenvalue``.

    Returns:
        The magnitude, not negative, here and in ``resampled``.

    Raises:
        CurvatureError: As for ``largest_eigenvalue``.
    """
    search = _search(curvature, tolerance, basis, restarts)
    return _eigenvalue(curvature, "largest magnitude", search, resamples, generator, progress)


def _search(curvature: Curvature, tolerance: float | None, basis: int, restarts: int) -> Lanczos:
    chosen = _TOLERANCE[curvature.precision] if tolerance is None else tolerance
    return Lanczos(tolerance=chosen, basis=basis, restarts=restarts)


def _eigenvalue(
    curvature: Curvature,
    end: End,
    search: Lanczos,
    resamples: int,
    generator: torch.Generator | None,
    progress: Callable[[int], None] | None,
) -> Eigenvalue:
    check_resamples(resamples)
    _check_fits(curvature, search)
    generator = default_generator() if generator is None else generator
    done = [0]

    def found(part: Curvature, start: Tensor) -> Eigenpair:
        def product(vector: Tensor) -> Tensor:
            result = part.product(vector)
            done[0] += 1
            if progress is not None:
                progress(done[0])
            return result

        return search.extreme(product, part.dimension, end, start)

    random = torch.randn(curvature.dimension, generator=generator, dtype=torch.float64)
    whole = found(curvature, random / random.norm())
    start = whole.vector + _FRESH * random / random.norm()
    parts = curvature.parts(resamples, generator) if resamples else []
    values = torch.tensor([found(part, start).value for part in parts], dtype=torch.float64)
    if end == "largest magnitude":
        values = values.abs()
    value = abs(whole.value) if end == "largest magnitude" else whole.value
    return Eigenvalue(
        end=end,
        eigenvalue=_quantity(value, values, curvature),
        residual=whole.residual,
        samples=curvature.samples,
        dimension=curvature.dimension,
        products=whole.products,
        resampled=tuple(values.tolist()),
    )


def _quantity(value: float, resampled: Tensor, curvature: Curvature) -> Quantity:
    unit = f"{curvature.unit} per weight²"
    if len(resampled):
        # A part has 1/R of the samples and so √R times the error of all of them.
        error = float(resampled.std(correction=1)) / len(resampled) ** 0.5
        return Quantity(value=value, unit=unit, status="estimate", standard_error=error)
    return Quantity(value=value, unit=unit, status="exact" if curvature.dimension <= DENSE else "estimate")


def _check_fits(curvature: Curvature, search: Lanczos) -> None:
    basis = search.bytes(curvature.dimension)
    advice = "take fewer samples or smaller batches, one layer instead of the network, or a smaller basis"
    what = f"a Lanczos basis of {search.basis} vectors for {curvature.description}"
    if curvature.device.type == "cpu":
        what += " and its products"
        basis += curvature.workspace
    else:
        check_memory(
            f"a product with {curvature.description}",
            curvature.workspace,
            curvature.memory_limit,
            curvature.device,
            advice,
        )
    check_memory(what, basis, curvature.memory_limit, "cpu", advice)
