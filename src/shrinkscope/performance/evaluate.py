"""Evaluating networks on the same batches, in evaluation mode, leaving them as they were found."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Data, batches
from shrinkscope.performance.evaluation import Evaluation, Tally
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.metrics import DEFAULT_METRICS, Metric
from shrinkscope.performance.outputs import Outputs


def evaluate(
    model: nn.Module,
    data: Data,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 512,
    *,
    outputs: Outputs | None = None,
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
        outputs: Finds the tensor of outputs in what the network returns; None takes a tensor, or the one called
            ``logits``.
        progress: Called after each batch with the number of samples done.

    Returns:
        The values, per sample where the metrics give them.

    Raises:
        DataError: If the data, the outputs or a metric's result are not what an evaluation needs.
    """
    return evaluate_all({"network": model}, data, metrics, batch_size, outputs=outputs, progress=progress)["network"]


def evaluate_all(
    networks: Mapping[str, nn.Module],
    data: Data,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 512,
    *,
    outputs: Outputs | None = None,
    progress: Callable[[int], None] | None = None,
    observe: Callable[[Mapping[str, Tensor], Tensor], None] | None = None,
) -> dict[str, Evaluation]:
    """Measure several networks in one pass over the data, each metric in its unit.

    They see the same batches even where the data are shuffled, augmented or a one-shot iterator.

    Args:
        networks: Name to network; the name appears in messages.
        data: As for ``evaluate``; consumed once.
        metrics: As for ``evaluate``.
        batch_size: As for ``evaluate``.
        outputs: As for ``evaluate``.
        progress: As for ``evaluate``.
        observe: Called after each batch with the outputs of every network on it, by name, on the CPU, and with its
            inputs: for what is measured between networks, which a second pass over one-shot data could not see.

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
            stack.enter_context(evaluation_mode(model))
        for inputs, targets in batches(data, batch_size):
            kept_targets = targets.detach().to("cpu")
            found = {name: forward(name, model, inputs, outputs) for name, model in networks.items()}
            for name, tally in tallies.items():
                tally.add(found[name], kept_targets)
            if observe is not None:
                observe(found, inputs)
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
