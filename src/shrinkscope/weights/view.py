"""A named tensor that is read in pieces, and a network's weights as a mapping of such tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel import Numbers
from shrinkscope.weights.remote.path import AnyPath
from shrinkscope.weights.role import Role

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 22
"""Elements read at a time: 32 MB in float64, small beside the imports and large beside the cost of a call."""


class TensorView(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a network, described now and read later.

    Attributes:
        name: Name in the plain network, for example ``"conv1.weight"`` (never ``weight_orig``).
        shape: Its shape.
        type: Name of the type that its values are read as, such as ``bfloat16``: the stored one, or for packed formats
            the one they stand for.
        role: What it does in the network.
        load: Reads the whole tensor; called at most once for each walk over the chunks.
        numbers: Reads the elements [start, stop) as they lie in a file, without PyTorch; None for others.
        window: Reads the elements [start, stop) of the flattened tensor (row-major) and holds no more than these; None
            where the whole tensor is in memory, or can be had only whole.
        stored: Numbers that the network keeps for it, where these are not its elements: the factors of a product, the
            channels left by structured pruning; None where they are.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    role: Role
    load: Callable[[], Tensor]
    window: Callable[[int, int], Tensor] | None = None
    numbers: Callable[[int, int], Numbers] | None = None
    stored: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """PyTorch's type of its values."""
        return getattr(torch, self.type)

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def read(self) -> Tensor:
        """The whole tensor, detached."""
        return self.load().detach()

    def piece(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop) of the flattened tensor, 1-D and detached; not to be changed.

        Args:
            start: First element, row-major.
            stop: One past the last.
        """
        if self.window is not None:
            return self.window(start, stop).detach()
        return self.read().reshape(-1)[start:stop]

    def chunks(self, size: int = CHUNK) -> Iterator[Tensor]:
        """The flattened tensor in order, ``size`` elements at a time (row-major, the last piece may be shorter)."""
        # Without a window every piece would load the whole tensor again.
        flat = self.read().reshape(-1) if self.window is None else None
        for start in range(0, self.parameters, size):
            stop = min(start + size, self.parameters)
            yield self.piece(start, stop) if flat is None else flat[start:stop]


class Weights(Mapping[str, TensorView]):
    """The tensors of one network by name.

    Args:
        views: The tensors in the order of the network; tied weights appear once.
        origin: Where they come from, for messages: a file's path, or a module's class.
        tied: Names that share the storage of a tensor in ``views``, each mapped to the name it is listed under.
        unreadable: Names of tensors that are stored but cannot be read as numbers, each with the reason.
        place: The file, directory or URL that they can be read from again; None where there is none.
    """

    def __init__(
        self,
        views: list[TensorView],
        *,
        origin: str,
        tied: Mapping[str, str] | None = None,
        unreadable: Mapping[str, str] | None = None,
        place: AnyPath | None = None,
    ) -> None:
        self._views = {view.name: view for view in views}
        self.origin = origin
        self.tied = dict(tied or {})
        self.unreadable = dict(unreadable or {})
        self.place = place

    def __getitem__(self, name: str) -> TensorView:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)
