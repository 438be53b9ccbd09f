"""A named tensor that is read in pieces, and a network's weights as a mapping of such tensors."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
import torch
from torch import Tensor

from shrinkscope.weights.role import Role

CHUNK = 1 << 22
"""Elements read at a time: 32 MB in float64, small beside the imports and large beside the cost of a call."""


class TensorView(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a network, described now and read later.

    Attributes:
        name: Name in the plain network, for example ``"conv1.weight"`` (never ``weight_orig``).
        shape: Its shape.
        dtype: How it is stored.
        role: What it does in the network.
        load: Reads the whole tensor; called at most once for each walk over the chunks.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    role: Role
    load: Callable[[], Tensor]

    @property
    def parameters(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    def read(self) -> Tensor:
        """The whole tensor, detached."""
        return self.load().detach()

    def chunks(self, size: int = CHUNK) -> Iterator[Tensor]:
        """The flattened tensor in order, ``size`` elements at a time (row-major, the last piece may be shorter)."""
        flat = self.read().reshape(-1)
        for start in range(0, flat.numel(), size):
            yield flat[start : start + size]


class Weights(Mapping[str, TensorView]):
    """The tensors of one network by name.

    Args:
        views: The tensors in the order of the network; tied weights appear once.
        origin: Where they come from, for messages: a file's path, or a module's class.
        tied: Names that share the storage of a tensor in ``views``, each mapped to the name it is listed under.
    """

    def __init__(self, views: list[TensorView], *, origin: str, tied: Mapping[str, str] | None = None) -> None:
        self._views = {view.name: view for view in views}
        self.origin = origin
        self.tied = dict(tied or {})

    def __getitem__(self, name: str) -> TensorView:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)
