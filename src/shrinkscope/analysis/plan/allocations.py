"""The allocations by name: what each needs, and the counts that it gives."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.additive import CostCurve, additive
from shrinkscope.analysis.plan.alpha_pruning import alpha_pruning
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.erk import erk
from shrinkscope.analysis.plan.global_magnitude import global_magnitude
from shrinkscope.analysis.plan.importance import importances
from shrinkscope.analysis.plan.lamp import lamp
from shrinkscope.analysis.plan.owl import owl
from shrinkscope.analysis.plan.prices import in_units
from shrinkscope.analysis.plan.sensitivity import sensitivity
from shrinkscope.analysis.plan.uniform import uniform

Allocation = Literal["joint", "additive", "sensitivity", "uniform", "global", "erk", "lamp", "owl", "alpha_pruning"]
NAMES: tuple[Allocation, ...] = get_args(Allocation)
DATA_FREE: tuple[Allocation, ...] = ("uniform", "global", "erk", "lamp", "alpha_pruning")
"""Those that see the weights alone."""

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Levels of the cost curves of single layers."""

_CURVE_BATCHES = 0.25  # of the inputs that are searched on: a curve is read off many points


class Allocations:
    """The allocations of one network, each from what it needs, which is computed once.

    Args:
        model: The network.
        weights: Layer → weight.
        damage: Of the inputs that may be looked at; None without inputs.
        prices: Layer → what a weight costs, the same as for ``damage``; 1 everywhere when None.

    Attributes:
        spent: What the norms of the layers' inputs took, in passes of the network over one input.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        damage: JointDamage | None,
        prices: Mapping[str, int] | None = None,
    ) -> None:
        self._model, self._weights, self._damage, self._prices = model, dict(weights), damage, prices
        self.spent = 0.0

    @property
    def available(self) -> tuple[Allocation, ...]:
        """Those that can be computed, without ``joint``, which searches from them."""
        return DATA_FREE if self._damage is None else (*DATA_FREE, "owl", "sensitivity", "additive")

    @property
    def sizes(self) -> Counts:
        """Layer → number of weights, or what they cost."""
        return in_units({layer: weight.numel() for layer, weight in self._weights.items()}, self._prices)

    def counts(self, name: Allocation, total: int) -> Counts:
        """The counts of an allocation.

        Args:
            name: One of ``available``.
            total: Number of weights to remove in all, or what they cost.
        """
        shapes = {layer: weight.shape for layer, weight in self._weights.items()}
        sizes, prices = self.sizes, self._prices
        makers: dict[str, Callable[[], Counts]] = {
            "uniform": lambda: uniform(sizes, total),
            "global": lambda: global_magnitude(self._weights, total, prices),
            "erk": lambda: erk(shapes, total, prices),
            "lamp": lambda: lamp(self._weights, total, prices),
            "alpha_pruning": lambda: alpha_pruning(self._weights, total, prices),
            "owl": lambda: owl(self._importances, total, prices),
            "sensitivity": lambda: sensitivity(self.curves, total),
            "additive": lambda: additive(self.curves, total),
        }
        return makers[name]()

    def all(self, total: int) -> dict[Allocation, Counts]:
        """Name → counts of every one of ``available``.

        Args:
            total: Number of weights to remove in all.
        """
        return {name: self.counts(name, total) for name in self.available}

    @cached_property
    def curves(self) -> dict[str, CostCurve]:
        """Layer → predictive KL in nats when it alone is pruned, at ``LEVELS``."""
        damage = self._damage
        assert damage is not None  # ``available`` does not offer what needs it
        few = max(1, round(damage.batches * _CURVE_BATCHES))
        dense = dict.fromkeys(damage.sizes, 0)
        damage.distances(dense, rebase=True)
        curves = {}
        for layer, size in damage.sizes.items():
            removed = sorted({round(level * size) for level in LEVELS} - {0})
            costs = [float(damage.distances(dense | {layer: number}, first=few).kl.mean()) for number in removed]
            curves[layer] = CostCurve((0, *removed), (0.0, *costs))
        return curves

    @cached_property
    def _importances(self) -> dict[str, Tensor]:
        assert self._damage is not None  # as above
        inputs = torch.cat(self._damage.inputs_on_cpu)
        self.spent += len(inputs)
        return importances(self._model, self._weights, inputs)
