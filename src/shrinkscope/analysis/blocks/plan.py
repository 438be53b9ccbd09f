"""What sparsity each layer of a language model gets, with one block of it in memory."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.passes import Passes
from shrinkscope.analysis.blocks.refine import ROUNDS, Found, refined
from shrinkscope.analysis.blocks.sensitivity import predicted_costs
from shrinkscope.analysis.blocks.within import importance
from shrinkscope.analysis.plan.additive import CostCurve, additive
from shrinkscope.analysis.plan.alpha_pruning import alpha_pruning
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.owl import owl
from shrinkscope.analysis.plan.parts import PlanRow, PlanSettings, Rival
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.uniform import uniform
from shrinkscope.compression.checks import as_integer, check_choice, check_finite
from shrinkscope.errors import CompressionError, DataError, SelectionError, WeightsError
from shrinkscope.quantity import Quantity
from shrinkscope.weights import LayerSelection, LayersLike

Allocation = Literal["joint", "additive", "owl", "uniform", "alpha_pruning"]
ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)
DATA_FREE: tuple[Allocation, ...] = ("uniform", "alpha_pruning")
"""Those that see the weights alone."""

Ranking = Literal["magnitude", "informed"]


def plan_blocks(
    checkpoint: str | PathLike[str],
    tokens: Tensor | None = None,
    *,
    sparsity: float,
    allocation: Allocation = "joint",
    ranking: Ranking = "informed",
    layers: LayersLike = None,
    keep: Sequence[str] = (),
    draws: int = 2,
    rounds: int = ROUNDS,
    seed: int = 0,
    batch_size: int = 4,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    scratch: str | PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Plan:
    """Choose how many weights to remove in each linear layer of the blocks of a language model.

    Passes go block by block, forth and back, with hidden states in files. Every second sequence is searched on, the
    others judge. The same arguments give the same plan.

    Args:
        checkpoint: A folder in the layout of Hugging Face.
        tokens: Token ids, shape (sequences, positions), at least 4 sequences; None for an allocation from the weights.
        sparsity: Fraction of the planned layers' weights to remove, in [0, 1), met to the nearest weight.
        allocation: ``joint`` starts from the best of the others and follows the gradient of the joint KL. ``additive``
            takes the least sum of second-order KLs of layers pruned alone; ``owl``, ``uniform`` and ``alpha_pruning``
            are baselines.
        ranking: Which weights go in what is predicted: ``informed``: the least |w|·‖x‖; ``magnitude``: the least |w|.
        layers: Which linear layers of the blocks; all by default.
        keep: Globs of layers to leave alone; they are no part of the sparsity.
        draws: Tokens that are drawn for each position for second-order KLs.
        rounds: Configurations that the search tries.
        seed: Of the drawn tokens.
        batch_size: Sequences that are run together.
        dtype: In which blocks are run.
        device: Where they are run.
        scratch: Folder for the hidden states between all blocks, of the dense and the pruned network; the system's
            temporary one when None.
        progress: Called with the number of configurations tried.

    Returns:
        The plan, its KL in nats a token over the judging sequences; without tokens it has no prediction.

    Raises:
        CompressionError: If the sparsity or the allocation is not one.
        DataError: If the tokens are too few or not the network's.
        SelectionError: If no layer is left.
        WeightsError: If the checkpoint is no language model of a supported architecture, or damaged.

    Source: derived here; docs/language-models.md compares the allocations.
    """
    check_choice("allocation", allocation, ALLOCATIONS)
    check_choice("ranking", ranking, get_args(Ranking))
    draws, rounds = as_integer("draws", draws, 1), as_integer("rounds", rounds, 1)
    if not 0 <= sparsity < 1:
        raise CompressionError(f"sparsity is {sparsity}; expected a fraction in [0, 1), for example 0.5")
    network = BlockNetwork(Path(checkpoint), dtype=dtype, device=device)
    chosen = _selection(network, layers, keep)
    settings = PlanSettings(
        allocation=allocation,
        sparsity=sparsity,
        keep=tuple(keep),
        seed=seed,
        # Without tokens nothing is predicted, and the numbers are for any way of choosing within a layer.
        within="magnitude" if tokens is None else ranking,
    )
    if tokens is None:
        return _from_weights(network, chosen, allocation, settings)
    if not network.predicts_tokens:
        raise WeightsError(f"{checkpoint} is a {type(network.model).__name__}, which predicts no tokens to plan by")
    tokens = network.check_tokens(tokens)
    if len(tokens) < 4:
        raise DataError(f"{len(tokens)} sequences of tokens; expected at least 4, better 64")
    settings = _with_tokens(settings, tokens)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        informed = ranking == "informed"
        passes = Passes(network, tokens, Path(folder), batch=batch_size, informed=informed, layers=chosen)
        passes.dense()
        choice = _Choice(passes, sparsity, draws, torch.Generator().manual_seed(seed))
        return choice.plan(allocation, settings, rounds, ranking, progress)


class _Choice:
    """The allocations of one network at one sparsity, and the choice between them."""

    def __init__(self, passes: Passes, sparsity: float, draws: int, generator: torch.Generator) -> None:
        self._passes, self._total = passes, round(sparsity * sum(passes.sizes.values()))
        self._draws, self._generator = draws, generator
        self._curves: dict[str, CostCurve] = {}

    def plan(
        self,
        allocation: Allocation,
        settings: PlanSettings,
        rounds: int,
        ranking: Ranking,
        progress: Callable[[int], None] | None,
    ) -> Plan:
        searching = allocation == "joint"
        names = [name for name in ALLOCATIONS if name != "joint"] if searching else [allocation]
        found = {name: self._measured(self._counts(name)) for name in names}
        start = min(found, key=lambda name: float(found[name].kl[::2].mean()))
        best = found[start]
        if searching:
            # The sequences that were not searched on tell when the search began to fit the others.
            taken = refined(self._passes, best, rounds, progress)
            best = min(taken, key=lambda one: float(one.kl[1::2].mean()))
        rows = tuple(self._row(name, size, best.counts[name]) for name, size in self._passes.sizes.items())
        return Plan(
            rows=rows,
            settings=settings,
            start=start if searching else None,
            kl=_mean(best.kl[1::2]),
            rivals=tuple(_rival(name, one, best) for name, one in found.items()) if searching else (),
            forward_equivalents=self._passes.spent,
            verdict="reached",
            notes=(_NOTES[ranking],),
        )

    def _counts(self, name: str) -> Counts:
        passes, weights = self._passes, _Stored(self._passes.network, self._passes.sizes)
        if name == "additive":
            self._curves = predicted_costs(passes, self._draws, self._generator)
            return additive(self._curves, self._total)
        if name == "owl":
            return owl(_Importances(weights, passes.squares), self._total)
        return _data_free(name, weights, passes.sizes, self._total)

    def _measured(self, counts: Counts) -> Found:
        return Found(counts, self._passes.pruned(counts))

    def _row(self, name: str, size: int, removed: int) -> PlanRow:
        if name not in self._curves:
            return PlanRow(layer=name, weights=size, removed=removed)
        numbers, costs = (torch.tensor(side, dtype=torch.float64) for side in self._curves[name])
        at = int(torch.searchsorted(numbers, float(removed)).clamp(1, len(numbers) - 1))
        share = (removed - numbers[at - 1]) / (numbers[at] - numbers[at - 1])
        return PlanRow(
            layer=name, weights=size, removed=removed, cost_alone=float(torch.lerp(costs[at - 1], costs[at], share))
        )


class _Stored(Mapping[str, Tensor]):
    """The weights of layers, each read when it is looked at, so that one exists at a time."""

    def __init__(self, network: BlockNetwork, sizes: Mapping[str, int]) -> None:
        self._network, self._names = network, list(sizes)

    def __getitem__(self, name: str) -> Tensor:
        weight = self._network.weights[name].read()
        check_finite(name, weight)
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Importances(Mapping[str, Tensor]):
    """|w|·‖x‖ of layers, likewise."""

    def __init__(self, weights: _Stored, squares: Mapping[str, Tensor]) -> None:
        self._weights, self._squares = weights, squares

    def __getitem__(self, name: str) -> Tensor:
        return importance(self._weights[name], self._squares[name].cpu()).sqrt()

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


_NOTES: dict[str, str] = {
    "informed": "Predicted with the weights of least |w|·‖x‖ going from each layer, not the lowest magnitudes: prune "
    "with informed, or with swept or compensated, which lose less.",
    "magnitude": "Predicted with the lowest magnitudes going from each layer and the others staying as they are.",
}


def _data_free(name: str, weights: _Stored, sizes: Mapping[str, int], total: int) -> Counts:
    return uniform(sizes, total) if name == "uniform" else alpha_pruning(weights, total)


def _from_weights(network: BlockNetwork, chosen: LayerSelection, allocation: str, settings: PlanSettings) -> Plan:
    if allocation not in DATA_FREE:
        raise DataError(f"allocation {allocation!r} needs tokens: give some, or take one of {', '.join(DATA_FREE)}")
    sizes = {
        name: layer.weight.numel()
        for number in range(network.depth)
        for name, layer in network.layers(number, chosen).items()
    }
    assert settings.sparsity is not None  # what was asked for
    total = round(settings.sparsity * sum(sizes.values()))
    counts = _data_free(allocation, _Stored(network, sizes), sizes, total)
    rows = tuple(PlanRow(layer=name, weights=size, removed=counts[name]) for name, size in sizes.items())
    return Plan(rows=rows, settings=settings)


def _selection(network: BlockNetwork, layers: LayersLike, keep: Sequence[str]) -> LayerSelection:
    given = LayerSelection.of(layers)
    chosen = LayerSelection(include=given.include, exclude=(*given.exclude, *keep), roles=given.roles)
    if not any(network.layers(number, chosen) for number in range(network.depth)):
        raise SelectionError(
            f"layers={layers!r} and keep={list(keep)!r} leave no layer to prune; a block's are "
            f"{', '.join(network.layers(0))}"
        )
    return chosen


def _with_tokens(settings: PlanSettings, tokens: Tensor) -> PlanSettings:
    searched = len(tokens[::2])
    return msgspec.structs.replace(settings, inputs=len(tokens), searched=searched, source="given")


def _mean(values: Tensor) -> Quantity:
    error = float(values.std() / len(values) ** 0.5)
    return Quantity(value=float(values.mean()), unit="nats", status="estimate", standard_error=error)


def _rival(name: str, one: Found, best: Found) -> Rival:
    return Rival(allocation=name, kl=_mean(one.kl[1::2]), excess=_mean((one.kl - best.kl)[1::2]))
