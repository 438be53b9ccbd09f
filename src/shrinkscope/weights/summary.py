"""One pass over a pair of tensors that gathers every statistic the latents ask for."""

from collections.abc import Iterable, Mapping

import msgspec
import torch
from torch import Tensor

from shrinkscope.weights.groups import GroupSums
from shrinkscope.weights.moments import PairMoments
from shrinkscope.weights.pairing import TensorPair


class PairSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pair of tensors after one pass.

    Attributes:
        pair: The tensors themselves, for a latent that needs Δ element by element.
        moments: Counts and sums.
        groups: Number of groups asked for → sums over them.
    """

    pair: TensorPair
    moments: PairMoments
    groups: Mapping[int, GroupSums]

    def delta(self) -> Tensor:
        """Δ = ω − ω̃ flattened, in float64 on the CPU: a reading that holds a whole tensor in memory."""
        # Not in place: a float64 tensor converts to itself, and the network's own weights must not change.
        return _float64(self.pair.dense.read()) - _float64(self.pair.compressed.read())

    def dense(self) -> Tensor:
        """ω flattened, in float64 on the CPU; not to be changed, it may be the network's own memory."""
        return _float64(self.pair.dense.read())


def _float64(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).to("cpu", torch.float64)


def summarise(pair: TensorPair, groups: Iterable[int] = ()) -> PairSummary:
    """Read a pair of tensors once, in chunks, and keep its statistics.

    Args:
        pair: Two tensors of one shape.
        groups: Numbers of groups whose means are wanted besides the moments.

    Returns:
        The summary; it merges nothing further, and holds no element of the tensors.
    """
    moments = PairMoments()
    sums = {count: GroupSums.empty(pair.dense.parameters, count) for count in groups}
    start = 0
    for dense, compressed in zip(pair.dense.chunks(), pair.compressed.chunks(), strict=True):
        moments = moments.update(dense, compressed)
        for count, partial in sums.items():
            sums[count] = partial.update(dense, compressed, start)
        start += dense.numel()
    return PairSummary(pair=pair, moments=moments, groups=sums)
