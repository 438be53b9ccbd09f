"""A plan through ``torch.nn.utils.prune``: masks beside the weights, for training on, or a script that makes them."""

import inspect
import json
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import prune

from shrinkscope.analysis.plan import Plan
from shrinkscope.compression import Mask
from shrinkscope.compression.locate import locate, places_of
from shrinkscope.errors import IntegrationError
from shrinkscope.integrations.layers import pruned_rows, python_table, title

_SCRIPT = '''"""{title}

    prune_by_counts(model, COUNTS)     # leaves weight_orig and weight_mask: train on, the masks stay
    make_permanent(model)              # plain weights again, zeros included
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import prune

{counts}


{functions}'''


def apply_torch_prune(plan: Plan, model: nn.Module) -> Mask:
    """Prune a network through ``torch.nn.utils.prune``, leaving ``weight_orig`` and ``weight_mask`` for training on.

    Args:
        plan: The plan, for weights that do not move.
        model: The network that it is for. Tied weights get the mask in all their places; layers that lose nothing stay
            plain. ``torch.nn.utils.prune.remove(module, "weight")`` makes a module plain again.

    Returns:
        The mask: exactly that of ``plan.apply``.

    Raises:
        CompressionError: If the plan is for another network or for compensated weights, or a weight is parametrised or
            pruned already. The model is unchanged.
    """
    mask = plan.mask(model)
    pruned = [(name, locate(model, name).parameter) for name in mask if mask.removed(name)]
    places = [(place, mask[name]) for name, parameter in pruned for place in places_of(model, parameter)]
    for place, kept in places:
        prune.custom_from_mask(place.owner, place.attribute, mask=kept.to(place.parameter.device))
    return mask


def torch_prune_script(plan: Plan) -> str:
    """A Python module that prunes a network as the plan says and needs nothing but torch.

    Args:
        plan: The plan, for weights that do not move.

    Returns:
        Its source: the number of weights to remove in each layer, ``prune_by_counts`` and ``make_permanent``.

    Raises:
        IntegrationError: If the plan removes nothing, or is for weights that make up for those that go, or
            that go by |w|·‖x‖.
    """
    if plan.settings.within == "compensated":
        raise IntegrationError(
            "torch.nn.utils.prune moves no weights, and this plan is for weights that make up for those that go: "
            "write them with shrinkscope prune --compensate, or export to llm-compressor"
        )
    if plan.settings.within == "informed":
        raise IntegrationError(
            "the script removes the lowest magnitudes, and this plan is for weights that go by |w|·‖x‖: export to "
            "llm-compressor"
        )
    return _SCRIPT.format(
        title=title(plan),
        counts=python_table(
            "COUNTS",
            "weight → how many to remove, of how many",
            [f"{json.dumps(row.layer)}: ({row.removed}, {row.weights})" for row in pruned_rows(plan)],
        ),
        # The script's functions are these very ones, so that what is tested is what is written.
        functions="\n\n".join(inspect.getsource(function) for function in (prune_by_counts, make_permanent)),
    )


def prune_by_counts(model: nn.Module, counts: Mapping[str, tuple[int, int]]) -> None:
    """Prune so many of the lowest magnitudes of each weight; equal ones go in the order of their indices."""
    weights = {name: model.get_parameter(name) for name in counts}
    for name, (_, size) in counts.items():
        if weights[name].numel() != size:
            raise ValueError(f"{name} has {weights[name].numel()} weights and the plan is for {size}")
    for name, (number, size) in counts.items():
        # l1_unstructured leaves open which of equal magnitudes go. Ranks are never equal.
        order = weights[name].detach().abs().flatten().argsort(stable=True)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(size, device=order.device)
        tied = [  # all places of a shared weight
            (module, attribute)
            for module in model.modules()
            for attribute, parameter in module.named_parameters(recurse=False)
            if parameter is weights[name]
        ]
        for module, attribute in tied:
            prune.l1_unstructured(module, attribute, amount=number, importance_scores=ranks.view(weights[name].shape))


def make_permanent(model: nn.Module) -> None:
    """Undo the masks of ``torch.nn.utils.prune``: plain weights, exactly zero where they were pruned."""
    for module in model.modules():
        for name, _ in list(module.named_parameters(recurse=False)):
            attribute = name.removesuffix("_orig")
            if attribute != name and prune.is_pruned(module) and hasattr(module, f"{attribute}_mask"):
                prune.remove(module, attribute)
