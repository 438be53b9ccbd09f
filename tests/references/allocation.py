"""Allocations of sparsity written down from the papers' formulas, slowly: sorted lists and brute force."""

import itertools
import math


def lamp_counts(layers, total):
    """LAMP by its definition: the score of weight u is w_u² over the sum of w_v² with |w_v| ≥ |w_u| from u on."""
    scored = []
    for index, weights in enumerate(layers):
        ordered = sorted(weights, key=abs)
        for position, weight in enumerate(ordered):
            scored.append((weight**2 / math.fsum(w**2 for w in ordered[position:]), index))
    chosen = sorted(scored)[:total]
    return [sum(1 for _, index in chosen if index == layer) for layer in range(len(layers))]


def erk_levels(shapes, density):
    """ERK as published: layers whose density would exceed 1 become dense, the others share what is left."""
    dense = set()
    while True:
        kept = density * sum(math.prod(shape) for shape in shapes)
        kept -= sum(math.prod(shapes[i]) for i in dense)
        raw = {i: sum(shape) / math.prod(shape) for i, shape in enumerate(shapes) if i not in dense}
        scale = kept / sum(raw[i] * math.prod(shapes[i]) for i in raw)
        over = {i for i in raw if scale * raw[i] > 1}
        if not over:
            return [0.0 if i in dense else 1 - scale * raw[i] for i in range(len(shapes))]
        dense |= over


def hill(eigenvalues):
    """1 + k/Σ ln(λᵢ/λₖ₊₁) over the k largest of 2k or 2k + 1 eigenvalues."""
    ordered = sorted(eigenvalues, reverse=True)
    k = len(ordered) // 2
    return 1 + k / math.fsum(math.log(value / ordered[k]) for value in ordered[:k])


def least_cost(curves, total):
    """The least sum of costs over all combinations of points of the curves that remove exactly ``total``."""
    costs = [
        sum(point[1] for point in points)
        for points in itertools.product(*curves)
        if sum(point[0] for point in points) == total
    ]
    return min(costs)


def greedy_counts(curves, total):
    """One weight after another, from the layer that would then cost least; curves are the costs of 0, 1, 2, … gone."""
    counts = [0] * len(curves)
    for _ in range(total):
        open_layers = [i for i, costs in enumerate(curves) if counts[i] + 1 < len(costs)]
        # A cost that falls again is no invitation: what was reached before counts.
        cheapest = min(open_layers, key=lambda i: max(curves[i][: counts[i] + 2]))
        counts[cheapest] += 1
    return counts
