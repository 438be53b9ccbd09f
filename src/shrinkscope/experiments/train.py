"""Training: a plain loop whose only randomness is the generator it is given."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.compression import Mask, hold, release
from shrinkscope.experiments import distributed
from shrinkscope.experiments.checkpoint import Checkpoint
from shrinkscope.experiments.data.parts import Part
from shrinkscope.experiments.seeds import derived_seed
from shrinkscope.experiments.settings import Computation, Training

Samples = tuple[Tensor, Tensor] | Part


def train(
    model: nn.Module,
    samples: Samples,
    settings: Training,
    generator: torch.Generator,
    *,
    mask: Mask | None = None,
    only: Sequence[str] | None = None,
    biases: bool = False,
    computation: Computation = Computation(),  # noqa: B008  # a frozen value
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train a classifier in place by SGD on cross-entropy, batch means in nats.

    Where several processes train together, each takes a share of every batch and gradients are added up, so that the
    update is that of one process up to rounding; batch norms see the share alone.

    Args:
        model: The network; left in evaluation mode, its parameters requiring gradients as before.
        samples: Inputs and class indices, tensors on the network's device, or images that are decoded on the way; an
            epoch visits each sample once.
        settings: Epochs, batch size, learning rate and its schedule.
        generator: Decides the order of the samples; its seed decides augmentation and dropout, and nothing else does.
        mask: Weights to hold at zero; the network is a plain module again afterwards.
        only: Names of weights; the modules they belong to are trained and everything else, batch norm statistics
            included, stays as it is. None trains everything.
        biases: With ``only``: the gradients of all other weights are zero, but weight decay acts on them, their biases
            are trained, and batch norms and dropout are in training mode, as in the paper's released code.
        computation: Precision and layout of the steps.
        checkpoint: Where the state is kept after each epoch, and where a training that was killed goes on.
        after_epoch: Called with 1, 2, … after each epoch, while the mask is still held; in the first process alone.

    Raises:
        OutputError: If the checkpoint cannot be written.
    """
    with _held(model, mask), _training(model, only, biases) as (trained, parameters, still):
        if computation.channels_last:
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        descent = _Descent(parameters, settings, still)
        step = _Step(model, descent, computation)
        done = checkpoint.restore(model, descent.velocities, generator) if checkpoint else 0
        for epoch in range(done, settings.epochs):
            model.eval()
            for module in trained:
                module.train()
            _one_epoch(samples, settings, epoch, step, generator)
            distributed.same_buffers(model)
            if distributed.rank() == 0:
                if after_epoch is not None:
                    after_epoch(epoch + 1)
                if checkpoint is not None and checkpoint.due():
                    checkpoint.keep(epoch + 1, model, descent.velocities, generator)
            distributed.wait()


class _Descent:
    """Gradient descent with momentum and an L2 penalty: v ← μv + g + λw, w ← w − ηv.

    Written out because torch.optim imports torch's compiler when an optimiser is made, which takes each worker process
    longer than importing torch.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Training, still: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._still = still
        self.velocities = [torch.zeros_like(parameter) for parameter in (*parameters, *still)]
        self._momentum = settings.momentum
        self._decay = settings.weight_decay

    def step(self, loss: Tensor | None, rate: float) -> None:
        """Go one step down a loss; None is a share of a batch without samples."""
        # A parameter that the loss does not depend on has no gradient and stays as it is.
        gradients = [None] * len(self._parameters)
        if loss is not None:
            gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        if distributed.size() > 1:
            gradients = [
                torch.zeros_like(parameter) if gradient is None else gradient.contiguous()
                for parameter, gradient in zip(self._parameters, gradients, strict=True)
            ]
            distributed.add_up(gradients)
        zeros = [torch.zeros((), device=parameter.device) for parameter in self._still]
        moved = zip((*self._parameters, *self._still), self.velocities, (*gradients, *zeros), strict=True)
        with torch.no_grad():
            for parameter, velocity, gradient in moved:
                if gradient is not None:
                    velocity.mul_(self._momentum).add_(gradient).add_(parameter, alpha=self._decay)
                    parameter.sub_(velocity, alpha=rate)


class _Step:
    """One step of training on one batch, or on this process's share of it."""

    def __init__(self, model: nn.Module, descent: _Descent, computation: Computation) -> None:
        self._forward: Callable[[Tensor], Any] = torch.compile(model) if computation.compile else model
        self._descent = descent
        self._computation = computation

    def __call__(self, inputs: Tensor, targets: Tensor, batch: int, rate: float) -> None:
        """Step on some samples of a batch of so many."""
        self._descent.step(self._loss(inputs, targets, batch) if len(targets) else None, rate)

    def _loss(self, inputs: Tensor, targets: Tensor, batch: int) -> Tensor:
        if self._computation.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        mixed = self._computation.precision == "bfloat16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            logits = self._forward(inputs)
        if mixed:
            logits = logits.float()
        if len(targets) == batch:
            return cross_entropy(logits, targets)
        return cross_entropy(logits, targets, reduction="sum") / batch


def learning_rate(settings: Training, epoch: int) -> float:
    """Learning rate of an epoch.

    Args:
        settings: Where it starts, and how it is annealed.
        epoch: Counted from 0.
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2


def _one_epoch(samples: Samples, settings: Training, epoch: int, step: _Step, generator: torch.Generator) -> None:
    rate = learning_rate(settings, epoch)
    with _dropout(derived_seed(generator.initial_seed(), "dropout", epoch, distributed.rank())):
        for inputs, targets, batch in _batches(samples, settings.batch_size, epoch, generator):
            step(inputs, targets, batch, rate)


def _batches(
    samples: Samples, batch_size: int, epoch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """This process's share of each batch in a new order, and the size of the whole batch."""
    count = len(samples) if isinstance(samples, Part) else len(samples[1])
    whole = torch.randperm(count, generator=generator).split(batch_size)
    shares = [distributed.share(batch) for batch in whole]
    if isinstance(samples, Part):
        streamed = samples.views(shares, generator.initial_seed(), epoch)
        yield from ((*found, len(batch)) for found, batch in zip(streamed, whole, strict=True))
        return
    inputs, targets = samples
    for chosen, batch in zip(shares, whole, strict=True):
        here = chosen.to(targets.device)
        yield inputs[here], targets[here], len(batch)


@contextmanager
def _dropout(seed: int) -> Iterator[None]:
    """Lend the global generators to layers that draw, which take no other, and put them back."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


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


Trained = tuple[list[nn.Module], list[nn.Parameter], list[nn.Parameter]]


@contextmanager
def _training(model: nn.Module, only: Sequence[str] | None, biases: bool) -> Iterator[Trained]:
    """The modules to put in training mode, the parameters to optimise, and those that weight decay alone moves."""
    chosen = [model] if only is None else [model.get_submodule(name.rpartition(".")[0]) for name in only]
    optimised = {p: None for module in chosen for p in module.parameters() if p.requires_grad}  # each once, in order
    still: list[nn.Parameter] = []
    if biases and only is not None:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter not in optimised:
                if name.endswith("weight"):
                    still.append(parameter)
                else:
                    optimised[parameter] = None
        chosen = [model]
    frozen = [p for p in model.parameters() if p not in optimised and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield chosen, list(optimised), still
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        model.eval()
