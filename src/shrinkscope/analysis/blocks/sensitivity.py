"""What removing the weights of one layer costs in predictions, to second order, from gradients of one dense pass."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from shrinkscope.analysis.blocks.passes import Passes
from shrinkscope.analysis.blocks.within import importance
from shrinkscope.analysis.plan.additive import CostCurve

LEVELS = tuple(step / 20 for step in range(1, 21))
"""Levels of the curves."""


class Steps:
    """In which of some steps each weight of a layer goes, those of least importance first.

    Args:
        weight: The dense weight.
        squares: As for ``kept_largest``.
        removed: Rising numbers removed at the ends of the steps.
    """

    def __init__(self, weight: Tensor, squares: Tensor | None, removed: list[int]) -> None:
        order = importance(weight, squares).flatten().argsort(stable=True)
        ends = torch.tensor(removed, device=order.device)
        step = torch.searchsorted(ends, torch.arange(len(order), device=order.device), right=True)
        self._count, self._step = len(removed), torch.empty_like(step).scatter_(0, order, step)

    def sums(self, terms: Tensor) -> np.ndarray:
        """Σ of terms over the weights that have gone by the end of each step, float64.

        Args:
            terms: One a weight, of its shape.
        """
        found = torch.bincount(self._step, weights=terms.flatten().double(), minlength=self._count + 1)
        return found[: self._count].cumsum(0).cpu().numpy()


def predicted_costs(passes: Passes, draws: int, generator: torch.Generator) -> dict[str, CostCurve]:
    """The KL of predictions in nats a token, to second order, when one layer alone is pruned.

    ½ E[(g·Δw)²], where g is the gradient of the log-likelihood of a sequence whose every next token the dense network
    draws: the Fisher information, from one gradient a sequence and draw for all layers and levels. Relative standard
    error about √(2/(sequences · draws)).

    Args:
        passes: Of the network, its dense pass done.
        draws: Tokens that are drawn for each position.
        generator: Source of the tokens.

    Returns:
        Layer → its curve, which never falls.

    Source: the second-order term of the KL; tests/analysis/blocks/test_sensitivity.py against the KL of small changes.
    """
    removed = {name: sorted({round(level * size) for level in LEVELS} - {0}) for name, size in passes.sizes.items()}
    sums = {name: np.zeros(len(counts)) for name, counts in removed.items()}
    steps: dict[str, Steps] = {}

    def receive(name: str, weight: Tensor, gradient: Tensor) -> None:
        if name not in steps:
            # Blocks come one after the other: the steps of the last one are done with.
            if len(steps) > 0 and _block(name) != _block(next(iter(steps))):
                steps.clear()
            steps[name] = Steps(weight, passes.removal_squares(name), removed[name])
        sums[name] += steps[name].sums(weight * gradient) ** 2

    passes.back_from_draws(draws, generator, receive)
    sequences, positions = passes.tokens.shape
    return {name: curve(removed[name], total / (2 * draws * sequences * positions)) for name, total in sums.items()}


def curve(removed: list[int], costs: np.ndarray) -> CostCurve:
    """A curve from nothing removed on, made rising.

    Args:
        removed: Rising numbers.
        costs: As many.
    """
    return CostCurve((0, *removed), (0.0, *np.maximum.accumulate(costs).tolist()))


def first_order_changes(
    passes: Passes, counts: Mapping[str, int], chosen: list[int]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How the KL changes, to first order, when one layer loses more or fewer weights than now.

    Args:
        passes: Of the network, last pruned to the counts.
        counts: Layer → number removed.
        chosen: Sequences that the KL is the mean of.

    Returns:
        Layer → numbers removed, the present one and others a hundredth of the layer apart, and the change of the KL at
        each from the present one, in nats a token.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def receive(name: str, weight: Tensor, gradient: Tensor) -> None:
        size = passes.sizes[name]
        grid = sorted({counts[name], *(round(step * size / 100) for step in range(1, 101))} - {0})
        # A weight that goes changes by −w: those beyond the present count would take g·w with them, and the others
        # would bring it back.
        sums = Steps(weight, passes.removal_squares(name), grid).sums(-weight * gradient)
        numbers, values = np.array([0, *grid]), np.array([0.0, *sums])
        values -= values[numbers == counts[name]]
        found[name] = numbers, values / (len(chosen) * passes.tokens.shape[1])

    passes.back(counts, chosen, receive)
    return found


def _block(name: str) -> str:
    return next(part for part in name.split(".") if part.isdigit())
