"""A plan as Torch-Pruning's ``pruning_ratio_dict``: fractions of channels, one for all layers that share them."""

import inspect
import json
import math
from typing import Any, Literal

from torch import nn

from shrinkscope.analysis.plan import Plan
from shrinkscope.analysis.plan.method_names import STRUCTURED
from shrinkscope.analysis.plan.pruning import planned
from shrinkscope.analysis.plan.ranges import numbers_in
from shrinkscope.compression.checks import check_choice, listing
from shrinkscope.errors import IntegrationError
from shrinkscope.integrations.layers import pruned_modules, python_table, title

Ratio = Literal["weights", "channels"]

_SCRIPT = '''"""{title}

    import torch_pruning as tp
    ratios = coupled_ratios(model, example_inputs, RATIOS)
    pruner = tp.pruner.MagnitudePruner(
        model, example_inputs, tp.importance.MagnitudeImportance(), pruning_ratio=0.0, pruning_ratio_dict=ratios
    )
    pruner.step()

pruning_ratio=0.0 leaves everything else alone; Torch-Pruning's own default removes half of it.
"""

from typing import Any

from torch import nn

{ratios}


{function}'''


def pruning_ratio_dict(
    plan: Plan, model: nn.Module, example_inputs: Any, *, ratio: Ratio = "weights"
) -> dict[nn.Module, float]:
    """What ``torch_pruning``'s pruners take as ``pruning_ratio_dict``; give them ``pruning_ratio=0.0`` with it.

    A plan's level is a fraction of the weights of a layer, Torch-Pruning's ratio one of its output channels. Removing
    a fraction r of the channels of every layer leaves (1 − r)² of the weights, because a layer's inputs go with the
    outputs of the one before: r = 1 − √(1 − level) leaves as many weights as the plan says where neighbours have the
    same level, and the geometric mean of two neighbours' where they differ. A plan of channels says how many go, and
    so does its ratio; which ones is for Torch-Pruning's importance to say, and ``Plan.narrowed`` takes the plan's own.

    Args:
        plan: The plan.
        model: The network that it is for.
        example_inputs: What the network takes, for Torch-Pruning to trace it.
        ratio: ``weights`` keeps the number of weights so; ``channels`` takes the level itself as fraction of channels.
            For plans of single weights; a plan of channels has its own.

    Returns:
        Module → ratio. Layers whose outputs are added share their channels and get one ratio, the mean over their
        weights. What makes the network's outputs, the classes, is left out.

    Raises:
        CompressionError: If the plan is for another network, or ``ratio`` is unknown.
        IntegrationError: If Torch-Pruning is not installed, the plan removes nothing, or a layer is not the ``weight``
            of a module.
    """
    planned(model, {row.layer: row.weights for row in plan.rows})
    ratios = _ratios(plan, ratio)
    try:
        return coupled_ratios(model, example_inputs, ratios)
    except ImportError as error:
        raise IntegrationError(f"torch_pruning cannot be imported ({error}); pip install torch-pruning") from error


def torch_pruning_script(plan: Plan, *, ratio: Ratio = "weights") -> str:
    """A Python module with the ratios and the function that makes a ``pruning_ratio_dict`` of them.

    Args:
        plan: The plan.
        ratio: As for ``pruning_ratio_dict``.

    Returns:
        Its source; it needs torch and Torch-Pruning only.

    Raises:
        CompressionError: If ``ratio`` is unknown.
        IntegrationError: If the plan removes nothing, or a layer is not the ``weight`` of a module.
    """
    return _SCRIPT.format(
        title=title(plan),
        ratios=python_table(
            "RATIOS",
            "module → fraction of its output channels to remove, number of its weights",
            [f"{json.dumps(name)}: ({share!r}, {size})" for name, (share, size) in _ratios(plan, ratio).items()],
        ),
        function=inspect.getsource(coupled_ratios),
    )


def coupled_ratios(
    model: nn.Module, example_inputs: Any, ratios: dict[str, tuple[float, int]]
) -> dict[nn.Module, float]:
    """One ratio for layers that share channels, the mean over their weights; none for what makes the outputs."""
    import torch_pruning

    by_module = {model.get_submodule(name): both for name, both in ratios.items()}
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs)
    found = {}
    for group in graph.get_all_groups():
        handlers = [(dependency.target.module, dependency.handler) for dependency, _ in group]
        makers = {module for module, handler in handlers if graph.is_out_channel_pruning_fn(handler)} & set(by_module)
        # Batch norm and additions count as both; only what takes channels in and gives others out reads them.
        read = any(not graph.is_out_channel_pruning_fn(handler) for _, handler in handlers)
        weights = sum(by_module[module][1] for module in makers)
        if read and weights:
            mean = sum(share * size for share, size in map(by_module.__getitem__, makers)) / weights
            found |= dict.fromkeys(makers, mean)
    return found


def _ratios(plan: Plan, ratio: Ratio) -> dict[str, tuple[float, int]]:
    check_choice("ratio", ratio, ("weights", "channels"))
    if plan.settings.method == STRUCTURED:
        return _channel_ratios(plan)
    levels = pruned_modules(plan, "Torch-Pruning")
    sizes = {row.layer.removesuffix("weight").removesuffix("."): row.weights for row in plan.rows}
    if any(level == 1 for level in levels.values()):
        whole = next(name for name, level in levels.items() if level == 1)
        raise IntegrationError(f"the plan removes all of {whole}, and Torch-Pruning keeps a channel of every layer")
    return {
        name: (level if ratio == "channels" else 1 - math.sqrt(1 - level), sizes[name])
        for name, level in levels.items()
    }


def _channel_ratios(plan: Plan) -> dict[str, tuple[float, int]]:
    """Of a plan of channels: half a channel less than go, because Torch-Pruning rounds what stays down."""
    gone = {row.layer: (len(numbers_in(row.channels)), row) for row in plan.rows}
    unnamed = [layer for layer, (number, _) in gone.items() if number and not layer.endswith(".weight")]
    if unnamed or not any(number for number, _ in gone.values()):
        raise IntegrationError(
            f"Torch-Pruning prunes the weight of a module, and the plan prunes {listing(unnamed)}; plan without it"
            if unnamed
            else "the plan removes nothing: there is nothing to export"
        )
    return {
        layer.removesuffix(".weight"): ((number - 0.5) / (row.width or 1), row.weights)
        for layer, (number, row) in gone.items()
        if number
    }
