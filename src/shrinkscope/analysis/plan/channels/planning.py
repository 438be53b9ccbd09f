"""Plans that remove channels: of each group of coupled ones so many, and everything that goes with them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from shrinkscope.analysis.plan.channels.even import Plain
from shrinkscope.analysis.plan.channels.groups import ChannelGroup, channel_groups
from shrinkscope.analysis.plan.channels.information import ordered
from shrinkscope.analysis.plan.channels.path import ChannelPath, gone
from shrinkscope.analysis.plan.channels.pricing import CoupledPrices, meeting_weights
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.method_names import STRUCTURED
from shrinkscope.analysis.plan.parts import PlanGroup, PlanRow, PlanSettings, PlanVector
from shrinkscope.analysis.plan.prices import counted_operations
from shrinkscope.analysis.plan.pricing import allowed
from shrinkscope.analysis.plan.ranges import text_of
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.rung_chooser import RungChooser
from shrinkscope.analysis.plan.rung_details import Said, Taken, rung_details
from shrinkscope.analysis.plan.rungs import Level
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.analysis.traced.channels import Channels
from shrinkscope.analysis.traced.follow import followed_channels
from shrinkscope.compression.checks import listing
from shrinkscope.errors import CompressionError, DataError
from shrinkscope.performance import Reading

ALLOCATIONS = ("joint", "additive", "uniform", "global")
"""Those that choose channels."""

_STEPS = 16  # numbers of a group's channels that are looked at


def channels_plan(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    reading: Reading,
    settings: PlanSettings,
    calibration: Calibration | None,
    progress: Callable[[float], None] | None,
) -> Plan:
    """Choose how many channels of each group go.

    Args:
        model: The dense network; left as it is.
        weights: Layer → weight; channels that another layer makes or reads stay.
        batches: Unlabelled inputs, each batch of at least 2; every second input judges.
        reading: How outputs are read.
        settings: What is asked for: the target, the allocation, and the budget of the search.
        calibration: Predicts the difference from the joint KL.
        progress: Called with the share that is done.

    Raises:
        CompressionError: If the target is not to be reached, the allocation is none of ``ALLOCATIONS``, the network
            cannot be traced, or none of its channels can go.
        DataError: If there are no inputs.
    """
    _check(settings, batches)
    halves = [[batch[at::2] for batch in batches] for at in (0, 1)]
    network = copy.deepcopy(model).eval()
    channels = followed_channels(network, batches[0], reading.outputs)
    found = channel_groups(channels, set(weights))
    if not found:
        raise CompressionError(
            f"no channel of {listing(weights)} can go: each is an output of the network, or is read by something that "
            "channels cannot be followed through; unstructured, n:m, low_rank and bits can be planned"
        )
    groups, scores, spent = ordered(network, channels, found, halves[0], reading)
    network_channels = _Network(network, channels, groups, weights)
    numbers, sizes = network_channels.numbers(), network_channels.sizes()
    operations = network_channels.operations(batches[0], needed=settings.flops is not None)
    pricing = numbers if settings.sparsity is not None else sizes
    pricing = operations if settings.flops is not None and operations is not None else pricing
    dense = sum(weight.numel() for weight in weights.values())
    total = None if settings.max_drop is not None else allowed(pricing, settings, dense, "a channel of each group left")
    paths = {group.name: ChannelPath(network, channels, group) for group in groups}
    search, judge = (
        JointDamage(
            model,
            list(paths),
            half,
            reading,
            paths=paths,
            members={name: path.names for name, path in paths.items()},
            reestimated=settings.reestimate,
        )
        for half in halves
    )
    search.spent += spent
    levels = {group.name: [Level(STRUCTURED, str(gone)) for gone in range(len(group.classes))] for group in groups}
    looked = {group.name: _looked_at(len(group.classes)) for group in groups}
    plain = Plain(groups, scores, pricing)
    chooser = RungChooser(
        search, judge, levels, looked, pricing, (STRUCTURED,), settings, progress, simple=plain.allocations
    )
    chosen = chooser.under_drop(calibration) if total is None else chooser.choose(total)
    taken = Taken(
        sizes=sizes,
        operations=operations,
        sparsity=lambda positions: 1 - (numbers.others + numbers.of(positions)) / max(dense, 1),
        labels={
            group.name: [f"{gone} of {len(group.classes)}" for gone in range(len(group.classes))] for group in groups
        },
    )
    return rung_details(chooser, taken, chosen, calibration, network_channels.described)


def _check(settings: PlanSettings, batches: Sequence[Tensor]) -> None:
    if settings.within == "compensated":
        raise CompressionError(
            "compensate makes up for single weights; method='structured' removes channels: leave it out"
        )
    if settings.allocation not in ALLOCATIONS:
        raise CompressionError(
            f"allocation {settings.allocation!r} chooses no channels; expected one of {', '.join(ALLOCATIONS)}"
        )
    if not batches:
        raise DataError(
            "method='structured' needs inputs, which channels are followed with: give inputs=… or shape=… to make "
            "synthetic ones"
        )


def _looked_at(channels: int) -> list[int]:
    """Numbers of a group's channels that are run alone, and moved between."""
    return sorted({min(round(step * channels / _STEPS), channels - 1) for step in range(_STEPS)} | {channels - 1})


class _Network:
    """What a network takes without some of its channels, and how that is written down."""

    def __init__(
        self, model: nn.Module, channels: Channels, groups: Sequence[ChannelGroup], weights: Mapping[str, Tensor]
    ) -> None:
        self._model, self._channels, self._groups, self._weights = model, channels, groups, weights
        self._meeting = meeting_weights(model, channels)

    def numbers(self) -> CoupledPrices:
        """Numbers of the planned weights."""
        met = {name: (1, meeting) for name, meeting in self._meeting.items() if name in self._weights}
        others = sum(weight.numel() for name, weight in self._weights.items() if name not in met)
        return CoupledPrices(self._channels, self._groups, met, {}, others)

    def sizes(self) -> CoupledPrices:
        """Bytes of all parameters and buffers."""
        stored = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        met = {name: (stored[name].element_size(), meeting) for name, meeting in self._meeting.items()}
        entries = self._channels.vectors | self._channels.buffers
        vectors = {name: stored[name].element_size() for name in entries}
        counted = sum(stored[name].numel() * stored[name].element_size() for name in [*met, *vectors])
        every = sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
        return CoupledPrices(self._channels, self._groups, met, vectors, every - counted)

    def operations(self, inputs: Tensor, *, needed: bool) -> CoupledPrices | None:
        """Operations of a pass over one input; None where they are not needed and not known."""
        weights = {name: self._model.get_parameter(name) for name in self._meeting}
        try:
            every, of_layers = counted_operations(self._model, weights, inputs[:1])
        except CompressionError:
            if needed:
                raise
            return None
        met = {
            name: (of_layers[name] // max(1, weights[name].numel()), meeting) for name, meeting in self._meeting.items()
        }
        return CoupledPrices(self._channels, self._groups, met, {}, every - sum(of_layers.values()))

    def described(self, positions: Counts, said: Mapping[str, Said]) -> dict[str, Any]:
        """The rows, groups and vectors of a plan."""
        cut = gone(self._groups, positions)
        groups = tuple(
            PlanGroup(
                name=group.name,
                layers=group.layers,
                channels=len(group.classes),
                removed=positions[group.name],
                **said[group.name],
            )
            for group in self._groups
        )
        rows = tuple(self._row(name, weight, cut) for name, weight in self._weights.items())
        texts = {name: _text(classes, cut) for name, classes in self._channels.vectors.items()}
        vectors = tuple(PlanVector(name=name, channels=text) for name, text in texts.items() if text)
        return {"rows": rows, "groups": groups, "vectors": vectors}

    def _row(self, name: str, weight: Tensor, cut: set[int]) -> PlanRow:
        layer = self._channels.layers.get(name)
        if layer is None:
            return PlanRow(layer=name, weights=weight.numel(), removed=0, width=len(weight))
        rows, columns = (sum(number not in cut for number in classes) for classes in (layer.made, layer.read))
        left = rows * self._meeting[name] * (columns if layer.read else 1)
        return PlanRow(
            layer=name,
            weights=weight.numel(),
            removed=weight.numel() - left,
            width=len(weight),
            channels=_text(layer.made, cut),
            inputs=_text(layer.read, cut),
        )


def _text(classes: Sequence[int], cut: set[int]) -> str:
    return text_of(place for place, number in enumerate(classes) if number in cut)
