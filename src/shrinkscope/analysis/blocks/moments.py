"""Second moments of the inputs of one block's linear layers; layers that see the same input share one."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from shrinkscope.errors import CurvatureError
from shrinkscope.weights import CHUNK


class BlockMoments:
    """E[Σ xxᵀ] of the inputs of some linear layers: mean over sequences of the sum over positions.

    Args:
        layers: Name of a weight → its layer.
        diagonal: Whether the squares of single columns are enough.

    Attributes:
        sequences: How many were seen.
    """

    def __init__(self, layers: dict[str, nn.Linear], *, diagonal: bool) -> None:
        self._layers, self._diagonal = layers, diagonal
        self._first: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self.sequences = 0

    def gather(self, run: Callable[[Tensor], Any], batches: Iterable[Tensor]) -> None:
        """Run a block on hidden states, and average what its layers are given; once.

        Args:
            run: Calls the block.
            batches: Hidden states before it.

        Raises:
            CurvatureError: If an input has NaN or infinite values.
        """
        for hidden in batches:
            seen: dict[int, tuple[str, Tensor]] = {}
            handles = [
                layer.register_forward_pre_hook(self._seeing(name, seen)) for name, layer in self._layers.items()
            ]
            try:
                run(hidden)
            finally:
                for handle in handles:
                    handle.remove()
            self.sequences += len(hidden)
        for name, sums in self._sums.items():
            if not bool(torch.isfinite(sums).all()):
                raise CurvatureError(
                    f"the input of {name} has NaN or infinite values; repair the network or its inputs"
                )
            sums /= self.sequences

    def matrix(self, name: str) -> Tensor:
        """Float64 of shape (columns, columns), or (columns,) where squares are enough.

        Args:
            name: Of a weight.

        Raises:
            CurvatureError: If the layer was not called.
        """
        if name not in self._first:
            raise CurvatureError(f"{name} was not used on these inputs; leave it out with --keep")
        return self._sums[self._first[name]]

    def _seeing(self, name: str, seen: dict[int, tuple[str, Tensor]]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def see(_: nn.Module, given: tuple[Any, ...]) -> None:
            self._see(seen, name, given[0])

        return see

    def _see(self, seen: dict[int, tuple[str, Tensor]], name: str, given: Tensor) -> None:
        # The tensor is held, so that no other gets its address while the block runs.
        first, _ = seen.setdefault(id(given), (name, given))
        if self._first.setdefault(name, first) != first:
            raise CurvatureError(f"{name} shares its input with other layers on some inputs only")
        if first != name:
            return
        rows = given.detach().reshape(-1, given.shape[-1])
        for part in rows.split(max(1, CHUNK // rows.shape[1])):
            self._add(name, part.to(torch.float64))

    def _add(self, name: str, rows: Tensor) -> None:
        columns = rows.shape[1]
        if name not in self._sums:
            shape = (columns,) if self._diagonal else (columns, columns)
            self._sums[name] = torch.zeros(shape, dtype=torch.float64, device=rows.device)
        if self._diagonal:
            self._sums[name] += rows.square().sum(dim=0)
        else:
            self._sums[name].addmm_(rows.mT, rows)
