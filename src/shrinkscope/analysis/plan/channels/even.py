"""The allocations of channels that look at no predictions of several groups together."""

from collections.abc import Mapping, Sequence

from shrinkscope.analysis.plan.channels.groups import ChannelGroup
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.pricing import Pricing

_FINEST = 1024  # shares that are tried when all groups lose the same one


class Plain:
    """The same share of every group's channels, and those channels of all groups that matter least.

    Args:
        groups: Each in the order in which its channels go.
        scores: Class → how much it matters.
        pricing: What a choice takes.
    """

    def __init__(self, groups: Sequence[ChannelGroup], scores: Mapping[int, float], pricing: Pricing) -> None:
        self._groups, self._pricing = groups, pricing
        # One channel of each group stays. The scores of a group rise, so that its channels go in their order.
        ranked = [(scores[number], at) for at, group in enumerate(groups) for number in group.classes[:-1]]
        self._ranked = [at for _, at in sorted(ranked)]

    def allocations(self, total: int) -> dict[str, Counts]:
        """Name → number of channels that go of each group, within so much; none where that is not to be reached.

        Args:
            total: Most that all may take.
        """
        ways = {"uniform": (self._evenly, _FINEST), "global": (self._lowest, len(self._ranked))}
        found = {}
        for name, (way, most) in ways.items():
            low, high = 0, most
            while low < high:  # the least that fits, since more gone takes less
                middle = (low + high) // 2
                low, high = (low, middle) if self._pricing.of(way(middle)) <= total else (middle + 1, high)
            if self._pricing.of(way(low)) <= total:
                found[name] = way(low)
        return found

    def _evenly(self, share: int) -> Counts:
        return {
            group.name: min(round(share * len(group.classes) / _FINEST), len(group.classes) - 1)
            for group in self._groups
        }

    def _lowest(self, count: int) -> Counts:
        found = dict.fromkeys((group.name for group in self._groups), 0)
        for at in self._ranked[:count]:
            found[self._groups[at].name] += 1
        return found
