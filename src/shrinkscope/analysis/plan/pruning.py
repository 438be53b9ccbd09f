"""The mask that removes so many of the lowest magnitudes of each layer, and the plans that have none."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from shrinkscope.analysis.plan.parts import PlanRow, PlanSettings
from shrinkscope.compression import Mask
from shrinkscope.compression.checks import check_finite, listing
from shrinkscope.compression.ranking import Scores, removed_by_rank
from shrinkscope.errors import CompressionError
from shrinkscope.weights import compressible


def mask_of(model: nn.Module | Mapping[str, Tensor], removed: Mapping[str, tuple[int, int]]) -> Mask:
    """Keep the largest magnitudes of each layer; equal ones go in the order of their indices.

    Args:
        model: The network, or its weights by name.
        removed: Layer → number of weights to remove, and how many the layer is expected to have.

    Raises:
        CompressionError: If a layer is missing, or has another number of weights, or a weight is not finite.
    """
    kept = {}
    for name, weight in planned(model, {name: size for name, (_, size) in removed.items()}).items():
        check_finite(name, weight)
        scores = Scores(size=weight.numel(), read=lambda weight=weight: weight.detach().reshape(-1).abs())
        (chosen,) = removed_by_rank([scores], removed[name][0], "lowest")
        kept[name] = ~chosen.view(weight.shape)
    return Mask(kept)


def planned(model: nn.Module | Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """The weights that a plan is for.

    Args:
        model: The network, or its weights by name.
        sizes: Layer → how many weights it is expected to have.

    Raises:
        CompressionError: If a layer is missing, or has another number of weights.
    """
    weights = compressible(model) if isinstance(model, nn.Module) else model
    for name, size in sizes.items():
        if name not in weights:
            raise CompressionError(f"the plan is for {name}, which is not there; the layers are {listing(weights)}")
        if weights[name].numel() != size:
            raise CompressionError(
                f"{name} has {weights[name].numel()} weights and the plan is for {size}: "
                "the plan belongs to another network"
            )
    return {name: weights[name] for name in sizes}


def refuse_mask(rows: Sequence[PlanRow], settings: PlanSettings) -> None:
    """Refuse a mask of plans that do more than remove the lowest magnitudes.

    Args:
        rows: Of the plan.
        settings: Of the plan.

    Raises:
        CompressionError: If it rounds weights, makes them of smaller rank, moves them, or chooses by the inputs.
    """
    if settings.method == "bits":
        raise CompressionError(
            "a plan of bits removes nothing, so it has no mask: made.apply(model) rounds the weights"
        )
    changed = next((row for row in rows if row.bits is not None or row.rank is not None), None)
    if changed is not None:
        raise CompressionError(
            f"the plan does more than remove weights ({changed.layer}: {changed.choice}), so no mask says it all: "
            "made.apply(model) carries it out"
        )
    refuse_blind(settings)


def refuse_blind(settings: PlanSettings) -> None:
    """Refuse plans whose weights go, or move, by what the inputs are.

    Args:
        settings: Of the plan.

    Raises:
        CompressionError: If it is one.
    """
    if settings.within == "compensated":
        raise CompressionError(
            "this plan is for weights that make up for those that go: give input moments, "
            "made.apply(model, precisions=input_moments(model, inputs).precisions()), or prune --compensate"
        )
    if settings.within == "informed":
        raise CompressionError(
            "this plan is for weights that go by |w|·‖x‖, which looks at the inputs: shrinkscope blocks prune "
            "--within informed carries it out"
        )
