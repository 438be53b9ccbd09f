"""One choice for each of several layers, of the least summed cost within a budget."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.errors import CompressionError

CELLS = 1 << 16
"""Prices are rounded up to this share of the budget where there are more units than that."""


def least_cost(costs: Mapping[str, Sequence[float]], prices: Mapping[str, Sequence[int]], total: int) -> Counts:
    """The rungs of least summed cost of all that stay within a budget.

    Args:
        costs: Layer → cost of each of its rungs; infinite where it is not to be chosen.
        prices: Layer → price of each of its rungs, whole numbers.
        total: Most that all may cost together, in the unit of the prices.

    Returns:
        Layer → rung, the milder one of equal sums. The least of all as long as the budget is below ``CELLS`` units;
        beyond, of all that stay within it with their prices rounded up to ``total / CELLS``, and the cheapest rungs
        where none do.

    Raises:
        CompressionError: If the cheapest rungs are beyond the budget.

    Source: the recursion for multiple-choice knapsacks, Kellerer, Pferschy & Pisinger (2004), "Knapsack Problems",
        section 11.5.
    """
    unit = max(1, -(-total // CELLS))
    cells = total // unit
    best, taken = np.zeros(cells + 1), []
    for name, of_layer in costs.items():
        found, rungs = np.full(cells + 1, np.inf), np.zeros(cells + 1, dtype=np.int16)
        for rung, (cost, price) in enumerate(zip(of_layer, prices[name], strict=True)):
            room = -(-price // unit)
            if room > cells:
                continue
            candidate = best[: cells + 1 - room] + cost
            better = candidate < found[room:]
            found[room:][better] = candidate[better]
            rungs[room:][better] = rung
        best = found
        taken.append(rungs)
    if not np.isfinite(best[cells]):
        cheapest = {name: _cheapest(of_layer, prices[name]) for name, of_layer in costs.items()}
        least = sum(prices[name][rung] for name, rung in cheapest.items())
        if least <= total:
            return cheapest
        raise CompressionError(f"the smallest choices of all layers take {least:,}, more than the {total:,} asked for")
    positions, left = {}, cells
    for name, rungs in zip(reversed(list(costs)), reversed(taken), strict=True):
        positions[name] = int(rungs[left])
        left -= -(-prices[name][positions[name]] // unit)
    return {name: positions[name] for name in costs}


def _cheapest(costs: Sequence[float], prices: Sequence[int]) -> int:
    finite = [rung for rung in range(len(prices)) if math.isfinite(costs[rung])]
    return min(finite, key=lambda rung: (prices[rung], costs[rung], rung))
