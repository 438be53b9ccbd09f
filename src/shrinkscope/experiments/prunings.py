"""The prunings of a study: which weights a cell removes, and the check that they stay away."""

import torch
from torch import nn

from shrinkscope.compression import (
    MagnitudePruning,
    Mask,
    RandomPruning,
    Scope,
    StructuredPruning,
    apply_mask,
    mask_drift,
    prune,
)
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.seeds import derived_generator
from shrinkscope.experiments.settings import StudyError
from shrinkscope.weights import compressible


def prune_cell(study: Study, model: nn.Module, cell: Cell) -> Mask:
    """Prune a dense network as its cell says, in place.

    Args:
        study: The study.
        model: The network.
        cell: Scope, method and level.

    Returns:
        The mask.
    """
    method = pruning_method(study, cell)
    scores = None
    if cell.method == "random":
        # Scores depend on the trial alone, so that a higher level removes what a lower one does, and more.
        trial = cell.trial if study.random_masks == "trial" else 1
        scores = derived_generator(study.seed, "random mask", trial)
    if cell.method == "highest" and study.highest == "overwritten":
        mask = method.mask(compressible(model), scores)
        _overwrite(model, mask)
        apply_mask(model, mask)
        return mask
    return prune(model, method, generator=scores)


def pruning_method(study: Study, cell: Cell) -> MagnitudePruning | RandomPruning | StructuredPruning:
    """How the weights of a cell are chosen.

    Args:
        study: The study.
        cell: Scope, method and level.
    """
    scope: Scope = "last" if cell.scope == "last" else "layer"
    layers = (study.last,) if cell.scope == "last" and study.last else None
    order = "lowest" if cell.method == "lowest" else "highest"
    if study.structure == "channels":
        chosen = "random" if cell.method == "random" else order
        return StructuredPruning(level=cell.level, order=chosen, norm="l1", scope=scope, layers=layers)
    if cell.method == "random":
        return RandomPruning(level=cell.level, scope=scope, layers=layers)
    return MagnitudePruning(level=cell.level, order=order, scope=scope, layers=layers)


def _overwrite(model: nn.Module, mask: Mask) -> None:
    """Put |w| − max|w| in the place of the weights that are to be pruned, as the paper's released code does."""
    with torch.no_grad():
        for name in mask:
            weight = model.get_parameter(name)
            magnitudes = weight.abs()
            weight.copy_(magnitudes - magnitudes.max())


def require_zeros(model: nn.Module, mask: Mask, name: str) -> None:
    """Check that a network has exactly the zeros of its mask: the removed weights, and no others in those layers.

    Args:
        model: The network after training.
        mask: The mask that was to be held.
        name: What the network is, for the message.

    Raises:
        StudyError: If a removed weight is not zero, or a kept one is.
    """
    drift = mask_drift(model, mask)
    if drift.drifted:
        raise StudyError(f"{name}: {drift.message()}")
    weights = compressible(model)
    zeros = sum(int((weights[layer] == 0).sum()) for layer in mask)
    if zeros != drift.removed:
        raise StudyError(f"{name}: {zeros} weights are zero, but the mask removes {drift.removed}; has training died?")
