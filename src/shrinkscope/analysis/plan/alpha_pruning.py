"""AlphaPruning: layers whose spectrum has a heavy tail are pruned less."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts, by_sparsity
from shrinkscope.analysis.plan.prices import in_units

SPREAD = 0.3
_HALVINGS = 20


def alpha_pruning(
    weights: Mapping[str, Tensor],
    total: int,
    prices: Mapping[str, int] | None = None,
    *,
    spread: float = SPREAD,
) -> Counts:
    """Levels in proportion to 1 − τ … 1 + τ, linear in the exponent of the spectrum's tail.

    The paper tunes τ by hand. Here it is halved until every layer keeps at least half as large a share as the network,
    because small layers beside a large one would be emptied.

    Args:
        weights: Layer → weight.
        total: Number of weights to remove in all, or what they cost.
        prices: Layer → what a weight costs; 1 everywhere when None.
        spread: τ of the paper to begin with, in (0, 1).

    Returns:
        Layer → number to remove.

    Source: Lu et al. (2024), "AlphaPruning", eq. 3 with the Hill estimator of eq. 2.
    """
    exponents = {name: tail_exponent(weight) for name, weight in weights.items()}
    least, most = min(exponents.values()), max(exponents.values())
    width = (most - least) or 1.0
    sizes = in_units({name: weight.numel() for name, weight in weights.items()}, prices)
    level = total / sum(sizes.values())
    for _ in range(_HALVINGS):
        ratios = {name: 1 - spread + 2 * spread * (value - least) / width for name, value in exponents.items()}
        counts = by_sparsity(ratios, sizes, total)
        if all(counts[name] <= (1 + level) / 2 * size + 1 for name, size in sizes.items()):
            return counts
        spread /= 2
    return by_sparsity(dict.fromkeys(sizes, 1.0), sizes, total)


def tail_exponent(weight: Tensor) -> float:
    """Hill's estimate of the exponent of the upper half of the spectrum of W Wᵀ, those of all kernel positions pooled.

    Args:
        weight: Shape (out, in, *kernel).

    Returns:
        1 + k/Σ ln(λᵢ/λₖ₊₁) over the k largest eigenvalues; 1 if there are fewer than two.
    """
    # Kernel positions first: a matrix each.
    matrices = weight.detach().to("cpu", torch.float64).flatten(2 if weight.ndim > 2 else 1)
    matrices = matrices.permute(2, 0, 1) if matrices.ndim == 3 else matrices[None]
    eigenvalues = torch.linalg.svdvals(matrices).square().flatten().sort(descending=True).values
    eigenvalues = eigenvalues[eigenvalues > eigenvalues.max() * torch.finfo(torch.float64).eps]
    k = len(eigenvalues) // 2
    if k < 1:
        return 1.0
    logarithms = float((eigenvalues[:k] / eigenvalues[k]).log().sum())
    return 1 + k / logarithms if logarithms > 0 else 1.0
