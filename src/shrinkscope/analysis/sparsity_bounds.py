"""Bounds that judge a pruned network: how much performance can be lost at most."""

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import nn

from shrinkscope.curvature import last_layer_hessian
from shrinkscope.errors import CurvatureError, DataError, TheoryError
from shrinkscope.performance.data import Data, Inputs, input_batches
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.predictions import PredictionTally
from shrinkscope.theory import corollary_3_2
from shrinkscope.theory.confidence import binomial_upper
from shrinkscope.weights import compressible

BoundName = Literal["predictive", "corrected"]

_VARIANCE = 1.0  # any σ² gives the same corrected bound: ε falls as 1/σ², and so does λ_min(Σ⁻¹)
_BATCH = 512


class Judge(Protocol):
    """A bound on what a pruned network loses."""

    quantity: str
    unit: str
    confidence: float | None
    samples: int

    def refusal(self, layers: Sequence[str]) -> str | None:
        """Why there is no bound when these layers are pruned; None where there is one."""
        ...

    def bound(self, pruned: nn.Module) -> float:
        """At most so much is lost."""
        ...


class Predictive(Judge):
    """P(argmax differs) from below a Clopper–Pearson bound; the dense network's outputs are computed once."""

    quantity = "the accuracy difference"
    unit = "fraction"

    def __init__(self, model: nn.Module, inputs: Inputs, confidence: float) -> None:
        self.confidence: float | None = confidence
        self._level = confidence
        with evaluation_mode(model), torch.no_grad():
            self._batches = [(batch, forward("dense", model, batch)) for batch in input_batches(inputs, 512)]
        self.samples = sum(len(batch) for batch, _ in self._batches)

    def refusal(self, layers: Sequence[str]) -> str | None:
        """None: it holds for whatever was pruned."""
        return None

    def bound(self, pruned: nn.Module) -> float:
        """The upper confidence bound on P(argmax differs)."""
        tally = PredictionTally()
        with evaluation_mode(pruned), torch.no_grad():
            for batch, outputs in self._batches:
                tally.add(outputs, forward("compressed", pruned, batch))
        disagreements = int(tally.predictions().disagrees.sum())
        return float(binomial_upper(disagreements, self.samples, self._level))


class Corrected(Judge):
    """Corollary 3.2 on the last layer, with the curvature that holds at all of its weights."""

    quantity = "the difference of the loss"
    unit = "nats"
    confidence: float | None = None

    def __init__(self, model: nn.Module, data: Data) -> None:
        hessian = last_layer_hessian(model, data, bias=False)
        self.samples = hessian.samples
        self._weight = f"{hessian.name}.weight"
        self._dense = compressible(model)[self._weight].detach().to("cpu", torch.float64)
        self._gradient = hessian.gradient().reshape(self._dense.shape)
        self._curvature = hessian.global_bound().value

    def refusal(self, layers: Sequence[str]) -> str | None:
        """The bound is for the last layer alone."""
        if list(layers) == [self._weight]:
            return None
        return f"a certified curvature exists for the last linear layer ({self._weight}) alone"

    def bound(self, pruned: nn.Module) -> float:
        """Corollary 3.2 corrected, with the gradient over the weights that changed."""
        delta = self._dense - compressible(pruned)[self._weight].detach().to("cpu", torch.float64)
        moved = self._gradient[delta != 0]
        found = corollary_3_2.corrected(
            epsilon=float(delta.square().sum()) / (2 * _VARIANCE),
            inverse_min=1 / _VARIANCE,
            gradient_norm=float(moved.norm()),
            curvature=self._curvature,
            target_mass=1.0,
            over_segment=True,
            same_elsewhere=True,
        )
        return found.value


def judge(model: nn.Module, inputs: Inputs | None, data: Data | None, bound: BoundName, confidence: float) -> Judge:
    """The bound that was asked for, on the inputs that it needs.

    Args:
        model: The dense network.
        inputs: Unlabelled inputs.
        data: Labelled data.
        bound: Its name.
        confidence: Of the predictive bound.

    Returns:
        A judge of pruned networks.

    Raises:
        DataError: If what the bound needs was not given.
        TheoryError: If the network has no certified curvature.
    """
    if bound == "predictive":
        source = data if inputs is None else inputs
        if source is None:
            raise DataError("the predictive bound needs inputs=… (unlabelled) or data=…; got neither")
        return Predictive(model, source, confidence)
    if data is None:
        raise DataError("the corrected bound needs labelled data=… for gradient and curvature; got none")
    try:
        return Corrected(model, data)
    except CurvatureError as error:
        raise TheoryError(f"no corrected bound for this network: {error}; use bound='predictive'") from error
