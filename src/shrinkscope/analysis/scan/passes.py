"""Outputs of a network with one layer changed, batch by batch, for the price of the layers after it where possible."""

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from shrinkscope.analysis.scan.batching import MixingError, Rows, established
from shrinkscope.analysis.scan.substitute import Snapshot, Through, substituted
from shrinkscope.analysis.traced.channels import Channels
from shrinkscope.analysis.traced.follow import followed_channels
from shrinkscope.analysis.traced.sharing import sharing
from shrinkscope.analysis.traced.trace import Environment, Steps, UntraceableError
from shrinkscope.performance.forward import forward, placement
from shrinkscope.performance.outputs import Outputs, scores_of

# The same operations on the same numbers; what is left is the order of sums in kernels that choose by memory layout.
_SAME = 1e-6

TOGETHER = 1 << 20
"""Most bytes of a value of all candidates in a pass, on a processor: beyond its cache, a pass of many is no faster."""

TOGETHER_ELSEWHERE = 64 << 20
"""The same on an accelerator, whose steps cost their start up to far larger values."""

_FEWEST_STEPS = 3  # after the layer; fewer do not make up for joining
_CHECKED = 3  # inputs with which it is checked that rows are independent


class Passes:
    """Runs a network over the same batches again and again, with one parameter changed at a time.

    The network is traced into steps, and the values before the first step that uses the parameter are held, so that a
    pass costs only what comes after. Where that is not possible, passes run the whole network and ``reason`` says why.

    Args:
        model: The network, in evaluation mode and within ``preserved``.
        batches: The inputs, kept by reference.
        memory: Most bytes of values held between passes; batches beyond that run from the start.
        outputs: Finds the tensor of scores in what the network returns; None takes a tensor, or the one called logits.

    Raises:
        DataError: If the network fails on the inputs.
    """

    def __init__(
        self, model: nn.Module, batches: Sequence[Tensor], memory: int, outputs: Outputs | None = None
    ) -> None:
        self._model, self._batches, self._memory, self._find = model, batches, memory, outputs
        self._total = sum(len(batch) for batch in batches)
        self._snapshot = Snapshot(model)
        self._at = 0
        self._held: dict[int, Environment] = {}
        self.spent = 0.0
        self.most_held = 0
        self.reason: str | None = None
        self.apart: str | None = None
        self._joining: Rows | None = None
        device, _ = placement(model)
        self._together = TOGETHER if device.type == "cpu" else TOGETHER_ELSEWHERE
        self.dense = [self._whole(batch) for batch in batches]
        self._steps = self._traced()

    @functools.cached_property
    def _channels(self) -> Channels:
        return followed_channels(self._model, self._batches[0], self._find)

    @property
    def prefix_cached(self) -> bool:
        """Whether passes begin at the changed layer."""
        return self._steps is not None

    def position(self, parameter: nn.Parameter) -> int | None:
        """Where in the network a parameter is used first; None when that is not known, or nowhere.

        Args:
            parameter: A parameter of the network.
        """
        return None if self._steps is None else self._steps.first_use(parameter)

    def sharing(self, name: str) -> str | None:
        """With which layers one shares its output channels, in words; None when they are its own, or nothing is known.

        Args:
            name: Its weight.
        """
        return None if self._steps is None else sharing(self._channels, name)

    def share(self, position: int | None) -> float:
        """What a pass from a position on costs, in passes of the whole network over all inputs.

        Args:
            position: As ``position`` gives it.
        """
        if self._steps is None or position is None:
            return 1.0
        held = sum(len(self._batches[index]) for index in self._holding(position)) / self._total
        return held * self._steps.share_from(position) + 1 - held

    def outputs(self, parameter: nn.Parameter, weight: Tensor, position: int | None) -> Iterator[Tensor]:
        """The outputs with another weight, for each batch, on the CPU.

        Args:
            parameter: The parameter to change while a batch runs.
            weight: The weight that it is to have.
            position: What ``position`` gave for it; must not go back between calls.

        Yields:
            As the network returns them, a row for each input.

        Raises:
            DataError: If the network fails with this weight.
        """
        if self._steps is not None and position is not None:
            self._move(self._steps, position)
        for index in range(len(self._batches)):
            yield self._alone(index, parameter, weight, position)

    def together(self, parameter: nn.Parameter, position: int | None) -> int:
        """How many candidates of a layer go through the steps after it in one pass; 1 where that does not pay.

        It pays while the steps are small, so that starting them takes as long as computing them: the largest value of
        all candidates together stays below ``TOGETHER``, and what is joined fits into the memory.

        Args:
            parameter: The layer's weight.
            position: As ``position`` gives it.
        """
        if self._steps is None or position is None or self.apart is not None:
            return 1
        steps, stop = self._steps, self._steps.after_last_use(parameter)
        if len(steps.nodes) - stop < _FEWEST_STEPS or not self._holding(position):
            return 1
        held, joined = self._bytes(steps, position, self._holding(position)), steps.bytes_before(stop)
        room = (self._memory - held) // max(joined, 1)
        count = min(self._together // max(steps.largest_from(stop), 1), room)
        return max(1, count)

    def grouped(
        self, parameter: nn.Parameter, weights: Sequence[Tensor], position: int | None
    ) -> Iterator[tuple[list[Tensor], bool]]:
        """The outputs with each of several weights, for each batch, on the CPU.

        Args:
            parameter: The parameter to change.
            weights: The weights that it is to have.
            position: What ``position`` gave for it; must not go back between calls.

        Yields:
            One output a weight, and whether one pass gave them all: then they are those of ``outputs`` up to rounding.

        Raises:
            DataError: If the network fails with one of the weights.
        """
        if self._steps is not None and position is not None:
            self._move(self._steps, position)
        for index in range(len(self._batches)):
            found = self._in_one_pass(index, parameter, weights, position)
            if found is not None:
                yield found, True
                continue
            yield [self._alone(index, parameter, weight, position) for weight in weights], False

    def _alone(self, index: int, parameter: nn.Parameter, weight: Tensor, position: int | None) -> Tensor:
        with substituted(parameter, weight):
            found = self._later(self._steps, index, position)
            return self._whole(self._batches[index]) if found is None else found

    def _in_one_pass(
        self, index: int, parameter: nn.Parameter, weights: Sequence[Tensor], position: int | None
    ) -> list[Tensor] | None:
        """The outputs of one batch, the steps after the changed layer run once; None where they cannot be."""
        steps, rows = self._steps, self._rows()
        if steps is None or position is None or rows is None or index not in self._held or len(weights) < 2:
            return None
        stop, changed = steps.after_last_use(parameter), []
        try:
            for weight in weights:
                environment = steps.copied(self._held[index], position)
                with substituted(parameter, weight):
                    steps.run(environment, position, stop)
                if steps.writes_into(environment, stop):
                    return None  # joined values are copies, which do not share what is written
                changed.append(environment)
            joined = rows.joined(changed)
            steps.run(joined, stop)
            scores = scores_of("the network", steps.result(joined), self._finder(steps)).detach().to("cpu")
        except Exception as error:  # whatever a candidate's values do to a step: each alone says what happens
            self.apart = f"candidates went apart: {type(error).__name__}: {_line(error)}"
            return None
        if len(scores) != len(weights) * len(self._batches[index]):
            return None
        self.spent += len(weights) * steps.share_from(position) * len(self._batches[index]) / self._total
        return list(scores.split(len(self._batches[index])))

    def _rows(self) -> Rows | None:
        """How values are joined; None, with ``apart`` saying why, where rows of a batch depend on each other."""
        if self._joining is None and self.apart is None and self._steps is not None:
            try:
                self._joining = self._established(self._steps)
            except MixingError as error:
                self.apart = f"rows of a batch cannot be told apart: {error}"
            except Exception as error:  # the steps may fail on other batches in any way
                self.apart = f"two halves of a batch cannot be run: {type(error).__name__}: {_line(error)}"
        return self._joining

    def _established(self, steps: Steps) -> Rows:
        both, find = self._own(0)[:_CHECKED], self._finder(steps)
        self.spent += 2 * len(both) / self._total
        rows, outputs = established(steps, both)
        if not _same(scores_of("the network", outputs, find).to("cpu"), self.dense[0][: len(both)]):
            raise MixingError("part of a batch has other outputs than in the whole")
        return rows

    def _finder(self, steps: Steps | None) -> Outputs | None:
        return None if steps is None or steps.finds_scores else self._find

    def _whole(self, batch: Tensor) -> Tensor:
        outputs = forward("the network", self._model, batch, self._find)
        self.spent += len(batch) / self._total
        if self._snapshot.written:
            self.reason = "the network changes its buffers when it runs, so every pass begins from the same ones"
            self._snapshot.restore()
        return outputs

    def _later(self, steps: Steps | None, index: int, position: int | None) -> Tensor | None:
        """The outputs of one batch from held values; None where nothing is held."""
        if steps is None or position is None or index not in self._held:
            return None
        environment = steps.copied(self._held[index], position)
        outputs = self._through(steps, index, lambda _: steps.run(environment, position) or steps.result(environment))
        self.spent += steps.share_from(position) * len(self._batches[index]) / self._total
        return outputs

    def _through(self, steps: Steps | None, index: int, run: Callable[[Tensor], object]) -> Tensor:
        """The outputs of a batch by another way than calling the network, checked in the same way."""
        return forward("the network", Through(self._model, run), self._batches[index], self._finder(steps))

    def _traced(self) -> Steps | None:
        """The steps, if they give what the network gives on every batch."""
        if self.reason is not None:
            return None
        try:
            steps = Steps(self._model, self._find)
            for index, batch in enumerate(self._batches):
                run = steps.survey if index == 0 else steps.run_all
                outputs = self._through(steps, index, lambda own, run=run: run(steps.start(own)))
                self.spent += len(batch) / self._total
                if not _same(outputs, self.dense[index]):
                    raise UntraceableError("run step by step, it gives other outputs")
        except UntraceableError as error:
            self.reason = f"the network cannot be run from the middle: {error}"
        except Exception as error:  # steps that the network's code does not take as such may fail in any way
            self.reason = f"the network cannot be run step by step: {type(error).__name__}: {_line(error)}"
        else:
            return steps
        return None

    def _move(self, steps: Steps, position: int) -> None:
        """Hold what the steps from ``position`` on need, for as many batches as the memory allows."""
        wanted = self._holding(position)
        for index in list(self._held):
            if index not in wanted:
                del self._held[index]
        for index in wanted:
            start = self._at
            if index not in self._held:
                self._held[index], start = steps.start(self._own(index)), 0
            if start < position:
                steps.run(self._held[index], start, position)
                walked = steps.share_from(start) - steps.share_from(position)
                self.spent += walked * len(self._batches[index]) / self._total
        self._at = position
        self.most_held = max(self.most_held, self._bytes(steps, position, wanted))

    def _holding(self, position: int) -> list[int]:
        """The batches whose values before ``position`` fit into the memory, the first ones first."""
        if self._steps is None:
            return []
        wanted: list[int] = []
        for index in range(len(self._batches)):
            if self._bytes(self._steps, position, [*wanted, index]) > self._memory:
                break
            wanted.append(index)
        return wanted

    def _bytes(self, steps: Steps, position: int, indices: Sequence[int]) -> int:
        samples = sum(len(self._batches[index]) for index in indices)
        return -(-steps.bytes_before(position) * samples // len(self._batches[0]))

    def _own(self, index: int) -> Tensor:
        """A copy of a batch on the network's device and in its floating type."""
        taken: list[Tensor] = []
        self._through(None, index, lambda own: taken.append(own) or own)
        return taken[0]


def _same(outputs: Tensor, dense: Tensor) -> bool:
    if outputs.shape != dense.shape:
        return False
    largest = float(dense[dense.isfinite()].abs().max()) if dense.isfinite().any() else 0.0
    return torch.allclose(outputs, dense, rtol=0, atol=_SAME * largest, equal_nan=True)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
