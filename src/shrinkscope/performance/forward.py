"""One batch through one network, in evaluation mode, leaving network and inputs as they were found."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.outputs import Outputs, scores_of

_INPUT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every submodule's training flag back afterwards.

    Args:
        model: The network.

    Yields:
        Nothing.
    """
    flags = [(module, module.training) for module in model.modules()]
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        # train() first: modules that override it (to merge or cache weights) must see the way back, too.
        model.train(was_training)
        for module, training in flags:
            module.training = training


def forward(name: str, model: nn.Module, inputs: Tensor, outputs: Outputs | None = None) -> Tensor:
    """Run one batch through a network, on the network's device and in its floating type.

    Args:
        name: What the network is called in messages.
        model: The network, in the mode it is to be run in.
        inputs: The batch; left as it is, even by a network that begins with an in-place operation.
        outputs: Finds the tensor in what the network returns; None takes a tensor, or the one called ``logits``.

    Returns:
        The outputs, on the CPU, a row for each input.

    Raises:
        DataError: If the network fails on these inputs, or does not return a tensor with a row for each.
    """
    device, dtype = placement(model)
    # A copy, because a network may begin with an in-place operation, and the next network must see the same
    # inputs.
    own = inputs.detach().to(device=device, dtype=dtype if inputs.is_floating_point() else None, copy=True)
    try:
        returned = model(own)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{name} failed on inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}: {what}; "
            "give inputs as it was trained on"
        ) from error
    scores = scores_of(name, returned, outputs)
    if scores.shape[:1] != inputs.shape[:1]:
        raise DataError(
            f"{name} returned shape {tuple(scores.shape)} for {len(inputs)} inputs, expected a row for each"
        )
    return scores.detach().to("cpu")


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where a network computes: device and floating type of its first tensors; no type if it has none.

    Args:
        model: The network.
    """
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    tensors = itertools.chain(model.parameters(), model.buffers())
    dtype = next((tensor.dtype for tensor in tensors if tensor.dtype in _INPUT_TYPES), None)
    return torch.device("cpu") if first is None else first.device, dtype
