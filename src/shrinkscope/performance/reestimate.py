"""What batch norm layers remember, estimated anew from unlabelled inputs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.normalisation import layers_with_statistics
from shrinkscope.performance.outputs import Outputs

_BATCH = 128


def reestimate_statistics(
    model: nn.Module,
    inputs: Inputs,
    *,
    batch_size: int = _BATCH,
    outputs: Outputs | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Replace the mean and variance of every batch norm layer by those that unlabelled inputs give, in one pass.

    Compression moves the activations away from what these layers remember of training; re-estimation alone often wins
    back most of the accuracy, which is why it is reported apart from what pruning chose. In the pass each layer
    normalises by its own batch, so that it sees what the layers before it will send once they are re-estimated, too.
    The averages over batches are plain ones, weighted by the number of inputs.

    Args:
        model: The network; its running means and variances are changed, nothing else.
        inputs: Unlabelled inputs, a tensor or batches; a few hundred. Batches of one input are refused.
        batch_size: Inputs a pass when ``inputs`` is one tensor; small batches estimate the variance badly.
        outputs: Finds a tensor in what the network returns.
        progress: Called with the number of inputs done.

    Returns:
        The number of layers re-estimated; 0, and nothing is read, where no layer remembers anything.

    Raises:
        DataError: If there are no inputs, a batch has one, or the network fails on them. The statistics are as before.

    Source: Li et al. (2020), EagleEye: adaptive batch normalisation; tests/performance/test_reestimate.py against one
        batch of all inputs.
    """
    norms = list(layers_with_statistics(model).values())
    if not norms:
        return 0
    sums: list[tuple[Tensor, Tensor] | None] = [None] * len(norms)
    done = 0
    with evaluation_mode(model), _own_batch(norms), torch.no_grad():
        for batch in input_batches(_even(inputs, batch_size), batch_size):
            if len(batch) == 1:
                raise DataError("a batch of one input has no variance; give at least 2 inputs a batch, better 128")
            forward("the network", model, batch, outputs)
            for number, norm in enumerate(norms):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                found = (len(batch) * norm.running_mean.double(), len(batch) * norm.running_var.double())
                before = sums[number]
                sums[number] = found if before is None else (before[0] + found[0], before[1] + found[1])
            done += len(batch)
            if progress is not None:
                progress(done)
    for norm, found in zip(norms, sums, strict=True):
        assert found is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(found[0] / done)
        norm.running_var.copy_(found[1] / done)
    return len(norms)


def _even(inputs: Inputs, batch_size: int) -> Inputs:
    """One tensor as batches of nearly one size, so that none is left with a single input."""
    if not isinstance(inputs, Tensor) or not len(inputs):
        return inputs
    return iter(inputs.tensor_split(math.ceil(len(inputs) / batch_size)))


@contextmanager
def _own_batch(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let layers normalise by the batch and remember it alone; afterwards they remember what they did before."""
    kept = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    try:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # each batch replaces what is remembered
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])
