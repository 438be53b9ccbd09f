"""Training: a plain loop whose only randomness is the generator it is given."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

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
        optimiser = SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        schedule = CosineAnnealingLR(optimiser, settings.epochs) if settings.schedule == "cosine" else None
        for epoch in range(1, settings.epochs + 1):
            model.eval()
            for module in trained:
                module.train()
            _one_epoch(model, samples, settings.batch_size, optimiser, generator)
            if schedule is not None:
                schedule.step()
            if after_epoch is not None:
                after_epoch(epoch)


def _one_epoch(
    model: nn.Module,
    samples: tuple[Tensor, Tensor],
    batch_size: int,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    inputs, targets = samples
    order = torch.randperm(len(targets), generator=generator).to(targets.device)
    for batch in order.split(batch_size):
        optimiser.zero_grad()
        cross_entropy(model(inputs[batch]), targets[batch]).backward()
        optimiser.step()


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
    parameters = list(dict.fromkeys(parameter for module in trained for parameter in module.parameters()))
    optimised = set(parameters)
    frozen = [p for p in model.parameters() if p not in optimised and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield trained, parameters
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        model.eval()
