"""What all layers pruned together do to the predictions, run from the first layer that changed."""

import copy
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.prices import in_units
from shrinkscope.analysis.plan.slopes import Slope, divergence_to, total_variation_to
from shrinkscope.analysis.traced.trace import Environment, Steps, UntraceableError
from shrinkscope.compression.locate import locate
from shrinkscope.compression.removal_path import magnitude_path
from shrinkscope.compression.rung_path import CompressionPath
from shrinkscope.errors import DataError
from shrinkscope.performance import PredictiveDistances, PredictiveTally, Reading
from shrinkscope.performance.forward import forward, placement
from shrinkscope.performance.normalisation import normalise_by_batch
from shrinkscope.performance.outputs import scores_of

MEMORY = 1 << 30
"""Most bytes of values held between passes."""

_SAME = 1e-5  # of the largest output: the same operations, in kernels that choose by memory layout


class JointDamage:
    """Prunes a copy of a network, layer by layer as counted, and compares its predictions.

    Values before the layers are held for one configuration, the base, so that another one costs what comes after the
    first layer in which it differs.

    Args:
        model: The dense network; left as it is.
        layers: Names of the weights to prune.
        batches: Inputs.
        reading: How outputs are read.
        memory: Most bytes held.
        paths: What each layer's weights are for a number removed, or on a rung; None removes the lowest magnitudes.
        prices: Layer → what a weight costs; 1 everywhere when None. All counts are then of what goes in this unit, and
            the nearest number of weights goes.
        members: Unit → names of the parameters that its path writes; where units are no single weights.
        reestimated: Whether batch norm's statistics will be re-estimated after compression: pruned networks are then
            run with those of each batch.

    Attributes:
        spent: What was run, in passes of the network over one input.
        reason: Why passes begin at the first step; None where they begin at the changed layer.

    Raises:
        CompressionError: If a weight cannot be written.
        DataError: If the network fails on the inputs, or its outputs are no predictions.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        batches: Sequence[Tensor],
        reading: Reading,
        memory: int = MEMORY,
        paths: Mapping[str, CompressionPath] | None = None,
        prices: Mapping[str, int] | None = None,
        *,
        members: Mapping[str, Sequence[str]] | None = None,
        reestimated: bool = False,
    ) -> None:
        self._network = copy.deepcopy(model).eval()
        members = members or {name: (name,) for name in layers}
        self._parameters = {
            unit: [locate(self._network, name).parameter for name in names] for unit, names in members.items()
        }
        self._paths: Mapping[str, CompressionPath] = paths or {
            name: magnitude_path(p.detach().clone()) for name, (p,) in self._parameters.items()
        }
        self._prices = prices or dict.fromkeys(layers, 1)
        self._device, self._dtype = placement(self._network)
        self._batches = [self._placed(batch) for batch in batches]
        self._reading, self._memory, self.spent = reading, memory, 0.0
        self.inputs, self.batches = sum(len(batch) for batch in batches), len(batches)
        self.reason: str | None = None
        with torch.no_grad():
            self.dense = [forward("the network", self._network, batch, reading.outputs) for batch in batches]
        if reestimated:
            normalise_by_batch(self._network)
        self._written: Counts = dict.fromkeys(layers, 0)
        self._base: Counts = dict(self._written)
        self._steps = self._traced()
        self._positions = self._held_positions()
        self._held: list[dict[int, Environment]] = [{} for _ in batches]
        self.distances(self._base, rebase=True)

    @property
    def sizes(self) -> Counts:
        """Layer → number of weights, or what they cost."""
        return in_units({name: path.size for name, path in self._paths.items()}, self._prices)

    def weights(self, counts: Counts) -> Counts:
        """Layer → number of weights to remove, the nearest to what goes in the unit of the prices.

        Args:
            counts: Layer → what goes.
        """
        return {name: min(round(n / self._prices[name]), self._paths[name].size) for name, n in counts.items()}

    @property
    def inputs_on_cpu(self) -> list[Tensor]:
        """The inputs, batch by batch."""
        return [batch.to("cpu") for batch in self._batches]

    def distances(self, counts: Counts, *, first: int | None = None, rebase: bool = False) -> PredictiveDistances:
        """How far the predictions move.

        Args:
            counts: Layer → number of weights to remove.
            first: Number of batches to look at; all of them by default.
            rebase: Whether later passes will begin from this configuration.

        Returns:
            The distances of each input; infinite divergence where outputs are not finite.
        """
        start = self._start(counts)
        self._write(counts)
        tally = PredictiveTally(self._reading)
        with torch.no_grad():
            for index in range(len(self._batches) if first is None else first):
                outputs = self._run(index, start, rebase)
                # Far beyond any prediction, so that the divergence is large and remains a number.
                outputs = outputs.nan_to_num(0.0, 1e4, -1e4)
                tally.add(self.dense[index], outputs, self._reading.counts(self._batches[index]))
        if rebase:
            self._base = dict(counts)
        return tally.distances()

    def slopes(self, counts: Counts, *, bounded: bool = False) -> dict[str, Slope]:
        """First-order change of the mean distance when a layer's count moves, from one backward pass.

        Args:
            counts: Layer → number of weights removed.
            bounded: Whether the distance is total variation; otherwise KL in nats.

        Returns:
            Layer → c: moving the layer's count from n to m changes it by c[m] − c[n].
        """
        self._write(counts)
        distance = total_variation_to if bounded else divergence_to
        parameters = [parameter for members in self._parameters.values() for parameter in members]
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for batch, dense in zip(self._batches, self.dense, strict=True):
            with torch.enable_grad():
                outputs = scores_of("the network", self._network(batch.clone()), self._reading.outputs)
                loss = distance(dense.to(outputs), outputs, self._reading)
            found = torch.autograd.grad(loss * (len(batch) / self.inputs), parameters, allow_unused=True)
            for total, gradient in zip(gradients, found, strict=True):
                if gradient is not None:
                    total += gradient
        self.spent += 3 * self.inputs  # forwards and backwards, the latter counted twice
        each = iter(gradients)
        return {
            name: Slope(self._paths[name].change(*islice(each, len(members))), self._prices[name])
            for name, members in self._parameters.items()
        }

    def settle(self, counts: Counts) -> None:
        """Make the kept weights the best ones for these counts, where they move at all.

        Args:
            counts: Layer → number of weights to remove.
        """
        for name, removed in self.weights(counts).items():
            self._paths[name].settle(removed)
        # Everything may have changed, also for counts that were run before.
        self._written = dict.fromkeys(counts, -1)
        self._base = dict.fromkeys(counts, -1)

    def _write(self, counts: Counts) -> None:
        with torch.no_grad():
            for name, removed in self.weights(counts).items():
                if self._written[name] != removed:
                    self._paths[name].write(self._parameters[name], removed)
                    self._written[name] = removed

    def _start(self, counts: Counts) -> int:
        """The held position from which on the values differ from the base's."""
        if self._steps is None:
            return 0
        uses = [self._uses[name] for name in counts if counts[name] != self._base[name]]
        first = min((use for use in uses if use is not None), default=0)
        return max((at for at in self._positions if at <= first and at in self._held[0]), default=0)

    def _run(self, index: int, start: int, rebase: bool) -> Tensor:
        batch = self._batches[index]
        if self._steps is None:
            self.spent += len(batch)
            return forward("the network", self._network, batch, self._reading.outputs)
        steps, held = self._steps, self._held[index]
        self.spent += len(batch) * steps.share_from(start)
        environment = steps.copied(held[start], start) if start in held else steps.start(batch.clone())
        at = start if start in held else 0
        for position in [p for p in self._positions if p > at] if rebase else []:
            steps.run(environment, at, position)
            held[position], at = steps.copied(environment, position), position
        steps.run(environment, at)
        return scores_of("the network", steps.result(environment), self._reading.outputs).to("cpu")

    def _traced(self) -> Steps | None:
        """The network as steps, if running them gives what running it gives."""
        try:
            steps = Steps(self._network, self._reading.outputs)
            with torch.no_grad():
                found = steps.survey(steps.start(self._batches[0].clone()))
                scores = scores_of("the network", found, self._reading.outputs).to("cpu")
                expected = forward("the network", self._network, self._batches[0], self._reading.outputs)
            if not torch.allclose(scores, expected, rtol=0, atol=_SAME * float(expected.abs().max())):
                raise UntraceableError("its outputs depend on more than the inputs")
        except (UntraceableError, DataError, RuntimeError) as error:
            self.reason = str(error)
            return None
        self._uses = {name: _first(steps, members) for name, members in self._parameters.items()}
        return steps

    def _held_positions(self) -> list[int]:
        """Before which steps values are held: each layer's, or every second, third, … as memory allows."""
        if self._steps is None:
            return []
        positions = sorted({use for use in self._uses.values() if use})
        share = self.inputs / len(self._batches[0])
        for stride in range(1, len(positions) + 1):
            chosen = positions[::stride]
            if share * sum(self._steps.bytes_before(at) for at in chosen) <= self._memory:
                return chosen
        return []

    def _placed(self, batch: Tensor) -> Tensor:
        return batch.detach().to(device=self._device, dtype=self._dtype if batch.is_floating_point() else None)


def _first(steps: Steps, parameters: Sequence[nn.Parameter]) -> int | None:
    """The first step that one of several parameters takes part in; None when no step does."""
    uses = (steps.first_use(parameter) for parameter in parameters)
    return min((use for use in uses if use is not None), default=None)
