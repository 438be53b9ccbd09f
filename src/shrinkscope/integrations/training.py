"""A plan's masks while a network is trained: at once, or growing to the plan's levels."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan import Plan
from shrinkscope.analysis.plan.pruning import mask_of
from shrinkscope.compression import Mask, apply_mask, hold, release
from shrinkscope.compression.checks import as_integer
from shrinkscope.compression.locate import locate
from shrinkscope.errors import CompressionError


@contextmanager
def holds(network: nn.Module, plan: Plan | Mask) -> Iterator[Mask]:
    """Keep a plan's masks through whatever training is done inside the ``with`` block.

    Each weight acts as zero in the forward pass where the mask removes it (``shrinkscope.compression.hold``), and
    behind the block the network is plain again, with exact zeros.

    Args:
        network: The network that the plan is for.
        plan: The plan, or a mask.

    Raises:
        CompressionError: If the plan is for another network or for compensated weights, or a weight is held, pruned or
            parametrised already.
    """
    mask = plan if isinstance(plan, Mask) else plan.mask(network)
    hold(network, mask)
    try:
        yield mask
    finally:
        release(network)


class PlanMasks:
    """Keeps the weights of a plan at zero while a network is trained; call ``step`` after each step of the optimiser.

    The network stays plain: state dicts, optimisers and copies know nothing of the masks. ``mask_gradients`` before
    clipping keeps removed weights out of the norm.

    With ``steps`` the levels grow from zero to those of the plan as 1 − (1 − t/steps)³ does, and each update removes
    what is of lowest magnitude by then.

    Args:
        network: The network that the plan is for; its weights are masked now.
        plan: The plan, or a mask to keep, such as what ``plan.apply(network, precisions=…)`` returned.
        steps: Steps of the optimiser until the levels are reached; 0 for at once.
        every: Steps between two updates of growing masks.

    Raises:
        CompressionError: If the plan is for another network or for compensated weights, a weight cannot be written, or
            a mask is to grow.

    Source: Zhu & Gupta, "To prune, or not to prune", 2017, equation 1 with initial sparsity 0.
    """

    def __init__(self, network: nn.Module, plan: Plan | Mask, *, steps: int = 0, every: int = 100) -> None:
        self._steps = as_integer("steps", steps, 0)
        self._every = as_integer("every", every, 1)
        final = plan if isinstance(plan, Mask) else plan.mask(network)
        self._counts = {name: (final.removed(name), final.size(name)) for name in final}
        self._network = network
        self.taken = 0
        if self._steps and isinstance(plan, Mask):
            raise CompressionError(f"steps is {steps}, but a mask says which weights go from the start; give a plan")
        self._keep(self._mask() if self._steps else final)

    @property
    def sparsity(self) -> float:
        """Fraction of the planned weights that are zero now, as counted in the network."""
        weights = [parameter for parameter, _ in self._removed.values()]
        return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)

    @property
    def mask(self) -> Mask:
        """The mask that is kept now."""
        return Mask({name: ~removed for name, (_, removed) in self._removed.items()})

    def step(self) -> None:
        """Count a step of the optimiser, let growing masks grow, and set what they remove to zero again."""
        self.taken += 1
        self.zero()
        if self.taken <= self._steps and (self.taken == self._steps or self.taken % self._every == 0):
            self._keep(self._mask())

    def zero(self) -> None:
        """Set what the masks remove to zero again, without counting a step."""
        with torch.no_grad():
            for parameter, removed in self._removed.values():
                parameter.masked_fill_(removed.to(parameter.device), 0)

    def mask_gradients(self) -> None:
        """Set the gradients of removed weights to zero, so that clipping by norm and what is logged see kept ones."""
        for parameter, removed in self._removed.values():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(removed.to(parameter.device), 0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on: the steps taken and the masks."""
        return {"taken": self.taken, "kept": {name: ~removed for name, (_, removed) in self._removed.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Args:
            state: What it returned.

        Raises:
            CompressionError: If the masks are of another network.
        """
        self.taken = state["taken"]
        self._keep(Mask(state["kept"]))

    def _mask(self) -> Mask:
        share = 1 - (1 - min(1.0, self.taken / self._steps)) ** 3
        return mask_of(
            self._network, {name: (round(share * removed), size) for name, (removed, size) in self._counts.items()}
        )

    def _keep(self, mask: Mask) -> None:
        apply_mask(self._network, mask)
        self._removed: dict[str, tuple[nn.Parameter, Tensor]] = {}
        for name, kept in mask.items():
            parameter = locate(self._network, name).parameter
            self._removed[name] = parameter, ~kept.to(parameter.device)
