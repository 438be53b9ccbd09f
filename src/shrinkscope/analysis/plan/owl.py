"""Outlier weighed layerwise sparsity: layers with many outliers are pruned less."""

from collections.abc import Mapping

from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts, apportion
from shrinkscope.analysis.plan.prices import in_units

MULTIPLE = 5.0
RANGE = 0.08


def owl(
    importances: Mapping[str, Tensor],
    total: int,
    prices: Mapping[str, int] | None = None,
    *,
    multiple: float = MULTIPLE,
    spread: float = RANGE,
) -> Counts:
    """Levels around the uniform one, lower where more importances exceed a multiple of the layer's mean.

    Args:
        importances: Layer → |w| × norm of its input, of the weight's shape.
        total: Number of weights to remove in all, or what they cost.
        prices: Layer → what a weight costs; 1 everywhere when None.
        multiple: M of the paper: outliers exceed so many means.
        spread: λ of the paper: levels differ by at most twice this; less where that could empty a layer.

    Returns:
        Layer → number to remove.

    Source: Yin et al. (2024), "Outlier weighed layerwise sparsity (OWL)", section 3.3, with the scaling of the shares
        to [0, 2λ] of the authors' code.
    """
    shares = {name: outlier_share(values, multiple) for name, values in importances.items()}
    least, most = min(shares.values()), max(shares.values())
    width = (most - least) or 1.0
    sizes = in_units({name: values.numel() for name, values in importances.items()}, prices)
    level = total / sum(sizes.values())
    # 2λ is the most that a level can be above the uniform one: half of what is left, so that no layer is emptied.
    spread = min(spread, (1 - level) / 4)
    moved = {name: (share - least) / width * 2 * spread for name, share in shares.items()}
    mean = sum(moved[name] * size for name, size in sizes.items()) / sum(sizes.values())
    return apportion({name: level - (moved[name] - mean) for name in sizes}, sizes, total)


def outlier_share(importances: Tensor, multiple: float) -> float:
    """The share of entries above a multiple of their mean.

    Args:
        importances: Non-negative numbers.
        multiple: Of the mean.
    """
    return float((importances > multiple * importances.mean()).double().mean())
