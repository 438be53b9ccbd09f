"""The rungs that know the weights alone, with and without knowledge of the inputs, and what says nothing."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope.analysis import compare
from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher
from shrinkscope.latent import InformedGaussian
from shrinkscope.weights import compressible


def believed(network: nn.Module, inputs: Tensor) -> list[Any]:
    """The latents, those with covariances from unlabelled inputs among them."""
    generator = torch.Generator().manual_seed(0)
    moments = input_moments(network, inputs).precisions()
    return [
        "gaussian",
        "student_t",
        InformedGaussian(precisions=moments),
        InformedGaussian(precisions=moments, relative=True),
        InformedGaussian(precisions=fisher_diagonal(network, inputs, generator=generator).precisions()),
        InformedGaussian(precisions=kronecker_fisher(network, inputs, generator=generator).precisions()),
    ]


def from_weights(
    network: nn.Module, model: nn.Module, layers: list[str], sizes: dict[str, int], latents: list[Any]
) -> dict[str, float]:
    """Every rung that is a function of the weights; values of layers are added up.

    Args:
        network: The dense network.
        model: The compressed one.
        layers: The layers that were compressed.
        sizes: Layer → weights, of all layers.
        latents: From ``believed``.
    """
    found = compare(network, model, latents=latents, layers=layers)
    values = {column: quantity.value for column, quantity in found.total.divergences.items()}
    changed = np.array([row.relative_ap2 or 0.0 for row in found.rows])
    weight = np.array([sizes[name] for name in layers], dtype=np.float64)
    depth = np.array([list(sizes).index(name) for name in layers], dtype=np.float64)
    parts = [_shape_of_change(before, after) for before, after in _pairs(network, model, layers)]
    return values | {
        "ap2": found.total.ap2,
        "relative_ap2": float(changed.sum()),
        "relative_rows": sum(part[0] for part in parts),
        "relative_spectral": sum(part[1] for part in parts),
        "turned": sum(part[2] for part in parts),
        "parameters": float(weight.sum()),
        "mean_sparsity": float(found.total.sparsity or 0.0) * float(weight.sum()) / sum(sizes.values()),
        "depth": -float((depth * changed).sum() / changed.sum()) if changed.sum() else 0.0,
    }


def _pairs(network: nn.Module, model: nn.Module, layers: list[str]) -> list[tuple[Tensor, Tensor]]:
    before, after = compressible(network), compressible(model)
    return [(before[name].detach().flatten(1).double(), after[name].detach().flatten(1).double()) for name in layers]


def _shape_of_change(before: Tensor, after: Tensor) -> tuple[float, float, float]:
    """Mean over the outputs of ‖Δ_row‖²/‖w_row‖²; ‖Δ‖₂²/‖W‖₂² (spectral); and 1 − cos² of the angle between the two."""
    delta = after - before
    squares = before.square().sum(dim=1)
    rows = (delta.square().sum(dim=1) / squares.clamp_min(1e-300))[squares > 0].mean()
    spectral = _largest(delta) / _largest(before)
    cosine = float((before * after).sum()) ** 2 / max(float(before.square().sum() * after.square().sum()), 1e-300)
    return float(rows), float(spectral), 1 - cosine if bool(after.any()) else 1.0


def _largest(matrix: Tensor) -> float:
    """The square of the largest singular value."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(torch.linalg.eigvalsh(gram)[-1].clamp_min(0))
