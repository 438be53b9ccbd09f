"""Erdős–Rényi-kernel densities: from the shapes alone."""

import math
from collections.abc import Mapping, Sequence

from shrinkscope.analysis.plan.counts import Counts, by_density
from shrinkscope.analysis.plan.prices import in_units


def erk(shapes: Mapping[str, Sequence[int]], total: int, prices: Mapping[str, int] | None = None) -> Counts:
    """Densities in proportion to the sum of a weight's dimensions over their product, where that is below 1.

    Args:
        shapes: Layer → shape of the weight, (out, in, *kernel).
        total: Number of weights to remove in all, or what they cost.
        prices: Layer → what a weight costs; 1 everywhere when None.

    Returns:
        Layer → number to remove.

    Source: Evci et al. (2020), "Rigging the lottery", section 3 (Erdős–Rényi kernel).
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return by_density(
        {name: sum(shape) / sizes[name] for name, shape in shapes.items()}, in_units(sizes, prices), total
    )
