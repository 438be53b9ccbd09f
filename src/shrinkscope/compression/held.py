"""A mask inside a module: the parametrisation that keeps removed weights at zero, whatever the optimiser does."""

from torch import Tensor, nn
from torch.nn.utils import parametrize

from shrinkscope.compression.mask import keep


class HeldMask(nn.Module):
    """Parametrisation weight = original where kept, 0 elsewhere; the gradient at removed weights is zero.

    Args:
        kept: Bool tensor of the weight's shape, True where kept; stored as the buffer ``mask``.
        order: Names of the owner's parameters in the order of registration, to be restored on release.
    """

    mask: Tensor

    def __init__(self, kept: Tensor, order: tuple[str, ...]) -> None:
        super().__init__()
        self.register_buffer("mask", kept)
        self.order = order

    def forward(self, original: Tensor) -> Tensor:
        """The weight that acts: ``original`` with exact zeros at the removed entries."""
        return keep(original, self.mask)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What an assignment stores; the mask acts when it is read."""
        return weight


def install(owner: nn.Module, attribute: str, held: HeldMask) -> None:
    """Hold one parameter; the Parameter object stays the same, so optimisers go on working.

    Args:
        owner: The module that has the parameter.
        attribute: Its attribute name.
        held: The parametrisation.
    """
    parametrize.register_parametrization(owner, attribute, held)


def held_masks(module: nn.Module) -> dict[str, HeldMask]:
    """The attributes of one module that are held, with their parametrisations.

    Args:
        module: Any module; its submodules are not searched.

    Returns:
        Attribute → parametrisation, also where further parametrisations sit on top of it.
    """
    if not parametrize.is_parametrized(module):
        return {}
    chains = module.parametrizations.items()  # type: ignore[union-attr]
    return {name: link for name, chain in chains for link in chain if isinstance(link, HeldMask)}  # type: ignore[union-attr]


def remove(owner: nn.Module, attribute: str, held: HeldMask) -> None:
    """Undo ``install``: a plain parameter of the same identity and place, exactly zero where the mask removes.

    Args:
        owner: The module that has the parameter.
        attribute: Its attribute name.
        held: Its only parametrisation.
    """
    original = owner.parametrizations[attribute].original  # type: ignore[index, union-attr]
    original.detach().masked_fill_(~held.mask, 0)  # type: ignore[operator, union-attr]
    _detach_class(owner)
    parametrize.remove_parametrizations(owner, attribute, leave_parametrized=False)
    _restore_order(owner, held.order)


def _detach_class(owner: nn.Module) -> None:
    # torch gives a parametrised module a class of its own and deletes the property from that class on removal; but a
    # deep copy shares the class, and would lose its weight when the other is released.
    shared = type(owner)
    body = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
    owner.__class__ = type(shared.__name__, shared.__bases__, body)  # type: ignore[assignment]


def _restore_order(owner: nn.Module, order: tuple[str, ...]) -> None:
    # Removal puts the parameter last; state dicts and optimisers list parameters in the order of registration.
    for name in order:
        if name in owner._parameters:
            owner._parameters[name] = owner._parameters.pop(name)
