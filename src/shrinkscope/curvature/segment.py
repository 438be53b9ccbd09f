"""The spectral norm of the Hessian on the way from the dense to the compressed weights."""

from collections.abc import Mapping

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.eigenvalue import Eigenvalue, spectral_norm
from shrinkscope.curvature.hessian import hessian
from shrinkscope.curvature.snapshot import chosen_parameters, nearest, plain_copy
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.data import Data
from shrinkscope.quantity import Quantity
from shrinkscope.weights import LayersLike


class SegmentEigenvalue(msgspec.Struct, frozen=True, kw_only=True):
    """The largest max |λ| of the Hessian over points of a segment of weights.

    Attributes:
        spectral_norm: The largest one found, an estimate: between the points it may be larger. Its standard error is
            over resamples of the data at the point where it was found.
        at: Where: 0 are the dense weights, 1 the compressed ones.
        points: Where it was computed.
        values: max |λ| of all samples at each point.
        residuals: |Hv − λv| at each point.
        samples: Number of samples.
        dimension: Number of weights.
    """

    spectral_norm: Quantity
    at: float
    points: tuple[float, ...]
    values: tuple[float, ...]
    residuals: tuple[float, ...]
    samples: int
    dimension: int


def segment_eigenvalue(
    dense: nn.Module,
    compressed: nn.Module | Mapping[str, Tensor],
    data: Data,
    loss: nn.Module | None = None,
    *,
    layers: LayersLike = None,
    points: int = 5,
    resamples: int = 8,
    tolerance: float | None = None,
    basis: int = 20,
    batch_size: int = 256,
    memory_limit: int | None = None,
    generator: torch.Generator | None = None,
) -> SegmentEigenvalue:
    """The largest spectral norm of the Hessian at equidistant points between two networks, in loss per weight².

    Taylor's theorem puts the Hessian of the second-order term somewhere on this segment. Not certified: for a last
    layer ``LastLayerHessian.global_bound`` is.

    Args:
        dense: The network before compression.
        compressed: The network after it, which may differ in the selected layers alone; or name → compressed weight.
        data: As for ``hessian``.
        loss: As for ``hessian``.
        layers: Layers whose weights are varied; all when None.
        points: Number of points, both ends included, at least 2.
        resamples: As for ``largest_eigenvalue``, at the worst point alone; 0 for no standard error.
        tolerance: As for ``largest_eigenvalue``.
        basis: As for ``largest_eigenvalue``.
        batch_size: As for ``hessian``.
        memory_limit: As for ``hessian``.
        generator: Source of the parts at the worst point; seed 0 when None.

    Returns:
        The largest value and where it is.

    Raises:
        CurvatureError: If there are fewer than two points, or the networks differ elsewhere; and as for ``hessian``.

    Source: math.md, section 4, on Eq. (15): "take the largest eigenvalue over the segment".
    """
    if points < 2:
        raise CurvatureError(f"points = {points}; expected at least 2, the dense and the compressed weights")
    start = plain_copy(dense)
    chosen = chosen_parameters(start, layers)
    begin = {name: parameter.detach().clone() for name, parameter in chosen.items()}
    end = _ends(start, chosen, compressed)

    def norm_at(position: float, resamples: int) -> Eigenvalue:
        with torch.no_grad():
            for name, parameter in chosen.items():
                parameter.copy_(torch.lerp(begin[name], end[name], position))
        here = hessian(start, data, loss, layers=tuple(chosen), batch_size=batch_size, memory_limit=memory_limit)
        return spectral_norm(here, resamples=resamples, tolerance=tolerance, basis=basis, generator=generator)

    positions = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    found = [norm_at(position, 0) for position in positions]
    worst = max(range(points), key=lambda i: found[i].eigenvalue.value)
    final = norm_at(positions[worst], resamples) if resamples else found[worst]
    return SegmentEigenvalue(
        spectral_norm=msgspec.structs.replace(final.eigenvalue, status="estimate"),
        at=positions[worst],
        points=tuple(positions),
        values=tuple(one.eigenvalue.value for one in found),
        residuals=tuple(one.residual for one in found),
        samples=final.samples,
        dimension=final.dimension,
    )


def _ends(
    start: nn.Module, chosen: dict[str, nn.Parameter], compressed: nn.Module | Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The compressed weights of the varied parameters, after checking that nothing else differs."""
    own = {**dict(start.named_parameters()), **dict(start.named_buffers())}
    if isinstance(compressed, nn.Module):
        other = plain_copy(compressed)
        given: dict[str, Tensor] = {**dict(other.named_parameters()), **dict(other.named_buffers())}
        missing = [name for name in own if name not in given]
        if missing:
            raise CurvatureError(f"the compressed network has no {missing[0]}; give networks of one architecture")
    else:
        given = {**own, **compressed}
    ends = {}
    for name, value in given.items():
        if name not in own:
            raise CurvatureError(f"the dense network has no {name}; {nearest((name,), list(own))}")
        if value.shape != own[name].shape:
            raise CurvatureError(
                f"{name} has shape {tuple(value.shape)} after compression and {tuple(own[name].shape)} before; "
                "expected the same"
            )
        value = value.detach().to(own[name])
        if name in chosen:
            ends[name] = value
        elif not torch.equal(value, own[name]) and not name.endswith("num_batches_tracked"):
            raise CurvatureError(
                f"{name} differs between the networks and is not varied, so that the segment does not lead from one to "
                "the other; select its layer, or copy it over"
            )
    return ends
