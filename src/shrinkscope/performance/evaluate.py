"""Evaluating networks on the same batches, in evaluation mode, leaving them as they were found."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Data, batches
from shrinkscope.performance.evaluation import Evaluation, Tally
from shrinkscope.performance.metrics import DEFAULT_METRICS, Metric

_INPUT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def evaluate(
    model: nn.Module,
    data: Data,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 512,
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure a network's performance on data, without gradients and in evaluation mode.

    Args:
        model: The network; it must map a batch of inputs to one tensor with a row per sample. Every
            submodule's training flag is restored afterwards.
        data: (inputs, targets) tensors or an iterable of such batches. Inputs follow the network's device,
            and floating inputs its floating type, so that a half-precision network can be compared with its
            original.
        metrics: Name to metric; None measures "loss" (cross-entropy in nats) and "accuracy" (fraction). A
            metric sees outputs and targets on the CPU.
        batch_size: Samples a forward pass when ``data`` are tensors.
        progress: Called after each batch with the number of samples done.

    Returns:
        The values, per sample where the metrics give them.

    Raises:
        DataError: If the data, the outputs or a metric's result are not what an evaluation needs.
    """
    return evaluate_all({"network": model}, data, metrics, batch_size, progress=progress)["network"]


def evaluate_all(
    networks: Mapping[str, nn.Module],
    data: Data,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 512,
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Evaluation]:
    """Measure several networks in one pass over the data, each metric in its unit.

    They see the same batches even where the data are shuffled, augmented or a one-shot iterator.

    Args:
        networks: Name to network; the name appears in messages.
        data: As for ``evaluate``; consumed once.
        metrics: As for ``evaluate``.
        batch_size: As for ``evaluate``.
        progress: As for ``evaluate``.

    Returns:
        Name to evaluation, paired sample by sample.

    Raises:
        DataError: As for ``evaluate``.
    """
    chosen = _validated_metrics(metrics)
    tallies = {name: Tally(chosen) for name in networks}
    done = 0
    with ExitStack() as stack, torch.no_grad():
        for model in networks.values():
            stack.enter_context(_evaluation_mode(model))
        for inputs, targets in batches(data, batch_size):
            kept_targets = targets.detach().to("cpu")
            for name, model in networks.items():
                tallies[name].add(_forward(name, model, inputs), kept_targets)
            done += len(inputs)
            if progress is not None:
                progress(done)
        return {name: tally.evaluation() for name, tally in tallies.items()}


def _validated_metrics(metrics: Mapping[str, Metric] | None) -> dict[str, Metric]:
    chosen = dict(DEFAULT_METRICS if metrics is None else metrics)
    if not chosen:
        raise DataError("metrics is empty; give at least one, or None for loss and accuracy")
    for name, metric in chosen.items():
        if not callable(metric):
            raise DataError(f"metric '{name}' is a {type(metric).__name__}, expected a function (outputs, targets)")
    return chosen


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
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


def _forward(name: str, model: nn.Module, inputs: Tensor) -> Tensor:
    device, dtype = _placement(model)
    # A copy, because a network may begin with an in-place operation, and the next network must see the same
    # inputs.
    own = inputs.detach().to(device=device, dtype=dtype if inputs.is_floating_point() else None, copy=True)
    try:
        outputs = model(own)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{name} failed on inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}: {what}; "
            "give inputs as it was trained on"
        ) from error
    if not isinstance(outputs, Tensor):
        raise DataError(
            f"{name} returned a {type(outputs).__name__}, expected a tensor; wrap it in a module that returns one"
        )
    if outputs.shape[:1] != inputs.shape[:1]:
        raise DataError(
            f"{name} returned shape {tuple(outputs.shape)} for {len(inputs)} inputs, expected a row for each"
        )
    return outputs.detach().to("cpu")


def _placement(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    tensors = itertools.chain(model.parameters(), model.buffers())
    dtype = next((tensor.dtype for tensor in tensors if tensor.dtype in _INPUT_TYPES), None)
    return torch.device("cpu") if first is None else first.device, dtype
