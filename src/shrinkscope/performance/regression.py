"""Regression as a Gaussian prediction: the outputs are the mean of N(f(x), s²I), s the scale of the residuals."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Data
from shrinkscope.performance.evaluate import evaluate
from shrinkscope.performance.metrics import squared_error
from shrinkscope.quantity import Quantity


class GaussianDistances(NamedTuple):
    """Input by input, float64 of shape (inputs,)."""

    kl: Tensor
    total_variation: Tensor


def gaussian_distances(dense: Tensor, compressed: Tensor, scale: float) -> GaussianDistances:
    """KL(N(f, s²I)‖N(f̃, s²I)) = ‖f − f̃‖²/2s² in nats, and the total variation erf(‖f − f̃‖/(2√2 s)).

    Args:
        dense: Outputs f of the dense network, shape (inputs, …).
        compressed: Outputs f̃ of the compressed one, the same shape.
        scale: s > 0, in the unit of the outputs.

    Returns:
        Both, for each input.

    Raises:
        DataError: If the outputs are not finite numbers of the same shape, or the scale is not positive.

    Source: derived here: along f̃ − f the densities cross half way, so that TV = 2Φ(‖f − f̃‖/2s) − 1;
        tests/performance/test_regression.py integrates both.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"scale = {scale}; expected a positive standard deviation in the unit of the outputs")
    for name, outputs in (("dense", dense), ("compressed", compressed)):
        if not outputs.is_floating_point() or not outputs.isfinite().all():
            raise DataError(f"{name} returned NaN, infinite or {outputs.dtype} outputs; expected finite predictions")
    if dense.shape != compressed.shape:
        raise DataError(
            f"dense returned shape {tuple(dense.shape)} and compressed {tuple(compressed.shape)}; expected the same"
        )
    step = (dense.to(torch.float64) - compressed.to(torch.float64)).reshape(len(dense), -1).norm(dim=1) / scale
    return GaussianDistances(step.square() / 2, torch.erf(step / math.sqrt(8)))


def residual_scale(model: nn.Module, data: Data, batch_size: int = 512) -> Quantity:
    """The standard deviation s of a regression's residuals, one for all outputs, in the unit of the targets.

    s² is the mean squared error of all entries, the maximum-likelihood variance of N(f(x), s²I).

    Args:
        model: The dense network.
        data: Inputs and targets with an entry for every output, that the network was not trained on: on its training
            data the residuals are too small, and every divergence is too large.
        batch_size: Inputs a forward pass when ``data`` are tensors.

    Returns:
        An estimate with its standard error over samples.

    Raises:
        DataError: If the data do not fit, or there are no residuals to take a scale from.

    Source: derived here; the standard error by the delta method, se(s²)/2s.
    """
    errors = evaluate(model, data, {"squared error": squared_error}, batch_size).per_sample["squared error"]
    scale = math.sqrt(float(errors.mean()))
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(
            f"the residuals have standard deviation {scale}; a Gaussian prediction needs a positive one: give a scale"
        )
    error = float(errors.std(correction=1)) / math.sqrt(len(errors)) / (2 * scale) if len(errors) > 1 else None
    return Quantity(value=scale, unit="units of the target", status="estimate", standard_error=error)
