"""Training: a plain loop whose only randomness is the generator it is given."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.compression import Mask, hold, release
from shrinkscope.experiments.config import Training


def train(
    model: nn.Module,
    samples: tuple[Tensor, Tensor],
    settings: Training,
    generator: torch.Generator,
    *,
    mask: Mask | None = None,
    only: Sequence[str] | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train a classifier in place by SGD on cross-entropy, batch means in nats.

    Args:
        model: The network; left in evaluation mode, its parameters requiring gradients as before.
        samples: Inputs and class indices, tensors on the network's device; an epoch visits each sample once.
        settings: Epochs, batch size, learning rate and its schedule.
        generator: Decides the order of the samples, and nothing else does.
        mask: Weights to hold at zero; the network is a plain module again afterwards.
        only: Names of weights; the modules they belong to are trained and everything else, batch norm statistics
            included, stays as it is. None trains everything.
        after_epoch: Called with 1, 2, … after each epoch, while the mask is still held.
    """
    with _held(model, mask), _training(model, only) as (trained, parameters):
        descent = _Descent(parameters, settings)
        for epoch in range(settings.epochs):
            model.eval()
            for module in trained:
                module.train()
            _one_epoch(model, samples, settings.batch_size, descent, _rate(settings, epoch), generator)
            if after_epoch is not None:
                after_epoch(epoch + 1)


class _Descent:
    """Gradient descent with momentum and an L2 penalty: v ← μv + g + λw, w ← w − ηv.

    Written out because torch.optim imports torch's compiler when an optimiser is made, which takes each worker process
    longer than importing torch.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Training) -> None:
        self._parameters = parameters
        self._velocities = [torch.zeros_like(parameter) for parameter in parameters]
        self._momentum = settings.momentum
        self._decay = settings.weight_decay

    def step(self, loss: Tensor, rate: float) -> None:
        # A parameter that the loss does not depend on has no gradient and stays as it is.
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(self._parameters, self._velocities, gradients, strict=True):
                if gradient is not None:
                    velocity.mul_(self._momentum).add_(gradient).add_(parameter, alpha=self._decay)
                    parameter.sub_(velocity, alpha=rate)


def _rate(settings: Training, epoch: int) -> float:
    """Learning rate of an epoch, counted from 0."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2


def _one_epoch(
    model: nn.Module,
    samples: tuple[Tensor, Tensor],
    batch_size: int,
    descent: _Descent,
    rate: float,
    generator: torch.Generator,
) -> None:
    inputs, targets = samples
    order = torch.randperm(len(targets), generator=generator).to(targets.device)
    for batch in order.split(batch_size):
        descent.step(cross_entropy(model(inputs[batch]), targets[batch]), rate)


@contextmanager
def _held(model: nn.Module, mask: Mask | None) -> Iterator[None]:
    if mask is None:
        yield
        return
    hold(model, mask)
    try:
        yield
    finally:
        release(model)


@contextmanager
def _training(model: nn.Module, only: Sequence[str] | None) -> Iterator[tuple[list[nn.Module], list[nn.Parameter]]]:
    """The modules to put in training mode and the parameters to optimise; the others need no gradient meanwhile."""
    trained = [model] if only is None else [model.get_submodule(name.rpartition(".")[0]) for name in only]
    optimised = {p: None for module in trained for p in module.parameters() if p.requires_grad}  # each once, in order
    frozen = [p for p in model.parameters() if p not in optimised and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield trained, list(optimised)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        model.eval()
