"""Writing compression into a model: the only functions of shrinkscope that change a network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from shrinkscope.compression.checks import listing
from shrinkscope.compression.compensated import CompensatedPruning
from shrinkscope.compression.held import HeldMask, held_masks, install, remove
from shrinkscope.compression.informed import InformedPruning
from shrinkscope.compression.locate import Place, locate, places_of
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.methods import CompressionMethod, InformedMethod, PruningMethod
from shrinkscope.compression.pattern import PatternPruning
from shrinkscope.compression.structured import StructuredPruning
from shrinkscope.errors import CompressionError
from shrinkscope.weights import compressible


def prune(
    model: nn.Module,
    method: PruningMethod | InformedMethod | PatternPruning | Mask,
    *,
    generator: torch.Generator | None = None,
) -> Mask:
    """Compute the mask of a pruning method and apply it once: the removed weights of ``model`` become zero, in place.

    ``CompensatedPruning`` moves the weights that stay, too. Later training may move the removed ones again
    (``mask_drift`` tells); ``hold`` keeps them at zero.

    Args:
        model: The network; its convolutions and linear layers are pruned, tied weights once.
        method: A pruning method, or a mask to apply as it is.
        generator: Source of randomness for methods that draw.

    Returns:
        The mask that was applied, on the CPU.

    Raises:
        CompressionError: If a weight cannot be ranked or written, or the mask does not fit. The model is unchanged.
        SelectionError: If the method selects no layer.
    """
    if isinstance(method, CompensatedPruning):
        weights = compressible(model)
        mask, new = method.compressed_with_mask(weights)
        write_weights(model, {name: new[name] for name in mask})
        return mask
    mask = method if isinstance(method, Mask) else _mask_for(model, method, generator)
    apply_mask(model, mask)
    return mask


def compress(
    model: nn.Module,
    method: CompressionMethod | InformedMethod | PatternPruning,
    *,
    generator: torch.Generator | None = None,
) -> Mask | None:
    """Write the compressed weights of any method into ``model``, in place.

    What is written equals ``method.compress(compressible(model), generator)`` bit by bit. Parameters keep their
    identity, type, device and ``requires_grad``, so optimisers go on working.

    Args:
        model: The network; its convolutions and linear layers are compressed, tied weights once.
        method: Any compression method.
        generator: Source of randomness for methods that draw.

    Returns:
        The mask where the method prunes, otherwise None.

    Raises:
        CompressionError: If a weight cannot be measured or written. The model is unchanged.
        SelectionError: If the method selects no layer.
    """
    if isinstance(method, PruningMethod | InformedMethod | PatternPruning):
        return prune(model, method, generator=generator)
    weights = compressible(model)
    write_weights(model, {name: new for name, new in method.compress(weights).items() if new is not weights[name]})
    return None


def apply_mask(model: nn.Module, mask: Mask) -> None:
    """Set the weights that a mask removes to zero, once and in place.

    Args:
        model: The network. Parameters keep their identity, type, device and ``requires_grad``.
        mask: Its layers are plain names of parameters; a tied weight may go by any of its names.

    Raises:
        CompressionError: If a layer of the mask is missing, has another shape or cannot be written. The model is
            unchanged.
    """
    for place, kept in _placed(model, mask):
        with torch.no_grad():
            place.parameter.masked_fill_(~kept.to(place.parameter.device), 0)


def write_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the parameters of a network, in place.

    Args:
        model: The network. Parameters keep their identity, type, device and ``requires_grad``.
        weights: Plain name of a parameter → its new value, of the same shape; a tied weight by any of its names.

    Raises:
        CompressionError: If a parameter is missing or cannot be written. The model is unchanged.
    """
    places = {name: locate(model, name) for name in weights}
    with torch.no_grad():
        for name, place in places.items():
            place.parameter.copy_(weights[name])


def hold(model: nn.Module, mask: Mask) -> None:
    """Apply a mask and keep it through training: each weight acts as zero where the mask removes it.

    A parametrisation does this in the forward pass, so that no optimiser, momentum or weight decay can undo it. The
    Parameter objects stay the same. ``release`` makes the model plain again; deep copies are held, too.

    Args:
        model: The network; a tied weight is held in all its places.
        mask: Its layers are plain names of parameters.

    Raises:
        CompressionError: If a layer of the mask is missing, has another shape, or is already held, pruned by
            ``torch.nn.utils.prune`` or parametrised. The model is unchanged.
    """
    placed = _placed(model, mask)
    apply_mask(model, mask)
    targets = [(place, kept) for first, kept in placed for place in places_of(model, first.parameter)]
    orders = {id(place.owner): tuple(place.owner._parameters) for place, _ in targets}
    for place, kept in targets:
        held = HeldMask(kept.to(place.parameter.device), orders[id(place.owner)])
        install(place.owner, place.attribute, held)


def release(model: nn.Module) -> None:
    """Undo ``hold``: a plain module again, exactly zero where the mask removed.

    Args:
        model: The network; parameters keep their identity and their place in the order of registration.

    Raises:
        CompressionError: If nothing is held, or further parametrisations sit on a held weight. The model is unchanged.
    """
    owners = [(name, owner) for name, owner in model.named_modules() if held_masks(owner)]
    if not owners:
        raise CompressionError(f"no weight of {type(model).__name__} is held by a mask; hold(model, mask) comes first")
    for name, owner in owners:
        for attribute in held_masks(owner):
            _check_sole(owner, f"{name}.{attribute}".removeprefix("."), attribute)
    for _, owner in owners:
        for attribute, held in held_masks(owner).items():
            remove(owner, attribute, held)


def _mask_for(
    model: nn.Module, method: PruningMethod | InformedPruning | PatternPruning, generator: torch.Generator | None
) -> Mask:
    mask = method.mask(compressible(model), generator)
    if isinstance(method, StructuredPruning):
        transposed = [name for name in mask if isinstance(locate(model, name).owner, _ConvTransposeNd)]
        if transposed:
            raise CompressionError(
                f"{listing(transposed)}: the output channels of a transposed convolution are dimension 1, and "
                "structured pruning removes along dimension 0; leave it out with layers=…"
            )
    return mask


def _placed(model: nn.Module, mask: Mask) -> list[tuple[Place, Tensor]]:
    """The place and mask of each distinct parameter that a mask names, after all checks."""
    placed: dict[int, tuple[str, Place, Tensor]] = {}
    for name, kept in mask.items():
        place = locate(model, name)
        mask.check_shape(name, place.parameter)
        first, _, same = placed.setdefault(id(place.parameter), (name, place, kept))
        if not torch.equal(same, kept):
            raise CompressionError(f"{first} and {name} are one tied weight, but the mask decides differently on them")
    return [(place, kept) for _, place, kept in placed.values()]


def _check_sole(owner: nn.Module, name: str, attribute: str) -> None:
    others = [type(link).__name__ for link in owner.parametrizations[attribute] if not isinstance(link, HeldMask)]  # type: ignore[index, union-attr]
    if others:
        raise CompressionError(
            f"{name} is also parametrised by {', '.join(others)}; remove these before release(model)"
        )
