"""Data-parallel training under torchrun: each process takes its share of a batch, gradients are added up."""

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as group

# The first process evaluates while the others wait for it.
_PATIENCE = datetime.timedelta(hours=2)


def rank() -> int:
    """Number of this process among those that train together; 0 if it is alone."""
    return group.get_rank() if _together() else 0


def size() -> int:
    """How many processes train together."""
    return group.get_world_size() if _together() else 1


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, if it did; on a GPU each takes one.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _together():
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    group.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        group.destroy_process_group()


def share(batch: Tensor) -> Tensor:
    """The samples of a batch that this process computes.

    Args:
        batch: Numbers of the samples, the same in every process.
    """
    return batch[rank() :: size()]


def add_up(tensors: Sequence[Tensor]) -> None:
    """Add tensors over the processes, in place.

    Args:
        tensors: As many of the same shapes in every process.
    """
    if size() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    group.all_reduce(flat)
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()


def same_buffers(model: nn.Module) -> None:
    """Give every process the batch norm statistics of the first: each has seen other samples.

    Args:
        model: The network.
    """
    if size() > 1:
        for buffer in model.buffers():
            group.broadcast(buffer, 0)


def wait() -> None:
    """Wait until every process is here."""
    if size() > 1:
        group.barrier()


def _together() -> bool:
    return group.is_available() and group.is_initialized()
