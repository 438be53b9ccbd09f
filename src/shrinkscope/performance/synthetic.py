"""Inputs for the predictive latent when there are none: noise that fits what the network remembers of its data."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.forward import evaluation_mode, placement
from shrinkscope.performance.normalisation import layers_with_statistics, mismatches
from shrinkscope.performance.smooth_noise import smooth_noise

Source = Literal["matched noise", "smooth noise", "uniform tokens", "sampled tokens"]

# Adam's usual averages; the rate is for inputs of variance 1.
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8

_UNMATCHED = (
    "no layer remembers statistics of the training data (batch norm does, layer norm does not), so these are noise of "
    "mean 0 and variance 1, as standardised inputs have, matched to nothing: expect less of them than of real inputs"
)
_NO_STEPS = "noise of mean 0 and variance 1, matched to nothing because steps = 0"
_MATCHED = "matched to the statistics of batch norm layers alone: no sample of the data, so no bound follows from them"


class SyntheticInputs(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Inputs made from a network alone.

    Attributes:
        inputs: The inputs, on the CPU; floating in the network's type, or int64 token ids.
        source: How they were made.
        layers: Names of the batch norm layers whose statistics were matched.
        mismatch_before: Mean over these layers of KL(N(μ, s²)‖N(m, v)) a channel in nats, of the smooth noise to begin
            with; None if nothing was matched.
        mismatch: The same of the inputs. Real inputs do not reach zero either.
        limitation: What they cannot be used for.
    """

    inputs: Tensor
    source: Source
    layers: tuple[str, ...] = ()
    mismatch_before: float | None = None
    mismatch: float | None = None
    limitation: str


def synthetic_inputs(
    model: nn.Module,
    shape: Sequence[int],
    count: int,
    generator: torch.Generator,
    *,
    steps: int = 60,
    rate: float = 0.05,
    batch_size: int = 128,
    progress: Callable[[int], None] | None = None,
) -> SyntheticInputs:
    """Inputs for ``predictive_divergence`` made from the dense network alone: smooth noise fitted to its batch norms.

    Gradient steps move the noise until mean and variance of every channel at every batch norm layer are near the
    remembered ones. They rank compressions; they are no sample of the data, and prove nothing about it. Without a layer
    that remembers statistics the noise stays as it is, and ``limitation`` says so.

    Args:
        model: The dense network; left as it is.
        shape: Shape of one input without the batch, for example (3, 32, 32).
        count: Number of inputs, at least 2; on a ResNet-20, 128 ranked little better than 64 of them.
        generator: Source of the noise; the result is determined by it.
        steps: Gradient steps, each a forward and a backward pass over all inputs; 0 leaves the noise as it is.
        rate: Size of the first step in units of the noise's standard deviation; it falls to zero along a cosine.
        batch_size: Inputs whose common statistics are matched: more is better, and takes more memory.
        progress: Called after each step of each batch with the number of steps done; steps × batches in all.

    Returns:
        The inputs, with how well they fit.

    Raises:
        DataError: If an option is out of range, or the network fails on inputs of this shape.

    Source: Yin et al. (2020), "Dreaming to Distill", for matching batch norm statistics, here by a KL instead of two
        norms, from smooth noise instead of white, without classes. benchmarks/predictive_latent.py measures the gain.
    """
    if not shape or min(shape) < 1 or count < 2:
        raise DataError(f"{count} inputs of shape {tuple(shape)}; expected at least 2, and positive sides")
    if steps < 0 or not (math.isfinite(rate) and rate > 0) or batch_size < 2:
        raise DataError(f"steps = {steps}, rate = {rate}, batch_size = {batch_size}; expected ≥ 0, > 0 and ≥ 2")
    device, dtype = placement(model)
    noise = smooth_noise(shape, count, generator).to(device=device, dtype=dtype)
    layers = tuple(layers_with_statistics(model))
    if not layers or steps == 0:
        return SyntheticInputs(
            inputs=noise.to("cpu"), source="smooth noise", limitation=_NO_STEPS if layers else _UNMATCHED
        )
    done = 0

    def step_done() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done)

    # Batches of equal size: statistics of a small rest would be matched badly.
    parts = noise.tensor_split(math.ceil(count / batch_size))
    with evaluation_mode(model):
        fitted = [_fitted(model, part, steps, rate, step_done) for part in parts]
    inputs, before, after = zip(*fitted, strict=True)
    return SyntheticInputs(
        inputs=torch.cat(inputs).to("cpu"),
        source="matched noise",
        layers=layers,
        mismatch_before=sum(before) / len(before),
        mismatch=sum(after) / len(after),
        limitation=_MATCHED,
    )


def _fitted(
    model: nn.Module, noise: Tensor, steps: int, rate: float, step_done: Callable[[], None]
) -> tuple[Tensor, float, float]:
    """Adam on the inputs, written out as in training: the inputs, and the mismatch before and after."""
    inputs, first, second = noise.clone(), torch.zeros_like(noise), torch.zeros_like(noise)
    before = 0.0
    with mismatches(model) as found:
        for step in range(1, steps + 1):
            mismatch, gradient = _gradient(model, inputs, found)
            before = mismatch if step == 1 else before
            first.mul_(_FIRST).add_(gradient, alpha=1 - _FIRST)
            second.mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
            size = rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            corrected = (second / (1 - _SECOND**step)).sqrt_().add_(_TINY)
            inputs = inputs - size / (1 - _FIRST**step) * first / corrected
            step_done()
        after, _ = _gradient(model, inputs, found)
    return inputs, before, after


def _gradient(model: nn.Module, inputs: Tensor, found: list[Tensor]) -> tuple[float, Tensor]:
    found.clear()
    variable = inputs.detach().requires_grad_()
    try:
        # A copy of the variable, because a network may begin with an in-place operation.
        with torch.enable_grad():
            model(variable * 1)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the network failed on inputs of shape {tuple(inputs.shape)}: {what}; give the shape of one input as it "
            "was trained on, without the batch"
        ) from error
    with torch.enable_grad():
        total = torch.stack(found).sum()
    (gradient,) = torch.autograd.grad(total, variable)
    if not gradient.isfinite().all():
        raise DataError(
            "the gradient of the batch norm statistics is not finite; the network's weights or statistics hold NaN or "
            "infinities, or its type is too narrow: use a float32 copy of the network"
        )
    return float(total.detach()) / len(found), gradient
