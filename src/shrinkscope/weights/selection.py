"""Which layers: by glob on the name and by role."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from shrinkscope.errors import SelectionError
from shrinkscope.weights.role import ROLES, Role


class LayerSelection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A selection of tensors.

    Attributes:
        include: Shell-style globs on the full name, for example ``"layer1.*.weight"``; one match suffices.
        exclude: Globs that take names out again.
        roles: Roles to keep (convolution, linear, embedding, norm, bias, statistic, other); all when None.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    roles: tuple[Role, ...] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.roles or ()) - set(ROLES))
        if unknown:
            raise SelectionError(f"unknown role {', '.join(map(repr, unknown))}; the roles are {', '.join(ROLES)}")

    @staticmethod
    def of(layers: "LayersLike") -> "LayerSelection":
        """A selection from what users write: None for everything, one glob, several globs, or a selection."""
        if isinstance(layers, LayerSelection):
            return layers
        if layers is None:
            return LayerSelection()
        return LayerSelection(include=(layers,) if isinstance(layers, str) else tuple(layers))

    def matches(self, name: str, role: Role) -> bool:
        """Whether the tensor of this name and role is selected."""
        if self.roles is not None and role not in self.roles:
            return False
        if any(fnmatchcase(name, glob) for glob in self.exclude):
            return False
        return any(fnmatchcase(name, glob) for glob in self.include)


LayersLike = LayerSelection | Sequence[str] | str | None
