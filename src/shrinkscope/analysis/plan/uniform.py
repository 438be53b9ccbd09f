"""The same sparsity in every layer."""

from collections.abc import Mapping

from shrinkscope.analysis.plan.counts import Counts, apportion


def uniform(sizes: Mapping[str, int], total: int) -> Counts:
    """The same fraction of every layer, to the nearest weight.

    Args:
        sizes: Layer → number of weights.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove.
    """
    level = total / sum(sizes.values())
    return apportion(dict.fromkeys(sizes, level), sizes, total)
