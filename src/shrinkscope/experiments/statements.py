"""``shrinkscope theory``: the statements on quadratics, on the digits network, and on a pair of the user's."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from shrinkscope.analysis import OptimalSparsity, optimal_sparsity
from shrinkscope.analysis.statements import (
    Head,
    StatementRow,
    Trial,
    last_layer_trials,
    layers_trials,
    predictive_trials,
    quadratic_trials,
    tabulate,
    training_trials,
    untried,
)
from shrinkscope.analysis.statements.table import StatementTable
from shrinkscope.compression import MagnitudePruning, PruningMethod, RandomPruning, prune
from shrinkscope.errors import CurvatureError, DataError, TheoryError
from shrinkscope.experiments.demo import DEMO
from shrinkscope.experiments.digits import Split, load_digits_split
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.seeds import derived_generator, derived_seed
from shrinkscope.experiments.train import train
from shrinkscope.performance.data import Data, batches
from shrinkscope.version import version
from shrinkscope.weights import compressible

INSTANCES = 200
SAMPLES = 512
"""Samples on which the curvature of a whole network is taken, where nothing else is asked for."""

OnStage = Callable[[str, int, int], None]
"""Called with what comes next, the number of stages done, and of all."""

_STEPS = 60
_CHAINED_LEVEL, _CHAINED_SAMPLES = 0.5, 256  # the curvature of a whole network takes most of the time of all
_QUADRATICS, _DIGITS, _PAIR = "quadratics", "digits", "pair"


def put_to_the_test(
    pair: tuple[nn.Module, nn.Module] | None = None,
    data: Data | None = None,
    *,
    samples: int = SAMPLES,
    tolerance: float | None = None,
    instances: int = INSTANCES,
    seed: int = 0,
    progress: OnStage | None = None,
) -> StatementTable:
    """Evaluate every statement of the paper in every form where it can be evaluated, beside what it bounds.

    Args:
        pair: A network before and after compression; a case of its own, with ``data``.
        data: (inputs, class indices) for the pair.
        samples: How many of the pair's samples, drawn at random, the curvature of the whole network is taken on.
        tolerance: Also find the largest sparsity of the dense network (that of the pair, else that of the digits) at
            which the predictive bound on the accuracy difference stays within this fraction.
        instances: Number of quadratics.
        seed: Of quadratics, samples and random pruning.
        progress: Called before each stage.

    Returns:
        The table.

    Raises:
        DataError: If there is a pair without data.
        TheoryError: If the tolerance is not positive.
    """
    if pair is not None and data is None:
        raise DataError("a pair of networks needs data to measure the difference on; got none (--data)")
    if tolerance is not None and not tolerance > 0:
        raise TheoryError(f"tolerance is {tolerance}; expected a positive number, for example 0.05")
    cases = {
        _QUADRATICS: f"{instances} random quadratic losses of 12 weights at their minimum, pruned",
        _DIGITS: "the network of `shrinkscope demo`: 3 methods × 4 levels, the last layer or all layers pruned",
    }
    stages: dict[str, Callable[[], list[StatementRow]]] = {
        _QUADRATICS: lambda: _on_quadratics(instances, seed),
        _DIGITS: lambda: _on_digits(seed),
    }
    held = None if data is None else _held(data)
    if pair is not None and held is not None:
        cases[_PAIR] = "your networks, one instance each"
        # First, because it is the one that can fail.
        stages = {_PAIR: lambda: _on_pair(*pair, held, samples, seed)} | stages
    told, total = progress or _silent, len(stages) + (tolerance is not None)
    rows: dict[str, list[StatementRow]] = {}
    for number, (case, stage) in enumerate(stages.items()):
        told(case, number, total)
        rows[case] = stage()
    sparsity = None
    if tolerance is not None:
        told("optimal sparsity", len(stages), total)
        sparsity = _allowed_sparsity(None if pair is None else pair[0], held, tolerance)
    told("done", total, total)
    ordered = tuple(row for case in cases for row in rows[case])
    return StatementTable(rows=ordered, cases=cases, version=version(), sparsity=sparsity)


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _allowed_sparsity(model: nn.Module | None, data: tuple[Tensor, Tensor] | None, tolerance: float) -> OptimalSparsity:
    if model is None:
        model, split = _digits_network()
        data = split.test
    return optimal_sparsity(model, tolerance=tolerance, data=data, latents=())


def _on_quadratics(instances: int, seed: int) -> list[StatementRow]:
    trials = quadratic_trials(instances, torch.Generator().manual_seed(seed))
    return tabulate(_QUADRATICS, trials)


def _on_digits(seed: int) -> list[StatementRow]:
    model, data = _digits_network()
    return tabulate(_DIGITS, _digits_trials(model, data, seed))


@cache
def _digits_network() -> tuple[nn.Module, Split]:
    """The dense network of the demo's first trial."""
    data = load_digits_split(DEMO.data)  # type: ignore[arg-type]
    model = new_network(DEMO.network, derived_seed(DEMO.seed, "initialisation", 1))
    train(model, data.train, DEMO.training, derived_generator(DEMO.seed, "training order", 1))  # type: ignore[arg-type]
    return model, data


def _digits_trials(model: nn.Module, data: Split, seed: int) -> Iterator[Trial]:
    head, some = Head(model, data.train), _subset(data.train, _CHAINED_SAMPLES, seed)
    for method in _methods("last", DEMO.levels):
        kept = method.mask(compressible(model), torch.Generator().manual_seed(seed))[head.name]
        yield from last_layer_trials(head, torch.where(kept, head.weights, 0.0))
        yield from training_trials(head, kept, steps=_STEPS)
    for method in _methods("layer", DEMO.levels):
        pruned = copy.deepcopy(model)
        prune(pruned, method, generator=torch.Generator().manual_seed(seed))
        if method.level == _CHAINED_LEVEL:
            yield from layers_trials(model, pruned, some)
        yield from predictive_trials(model, pruned, data.test)


def _methods(scope: str, levels: Sequence[float]) -> list[PruningMethod]:
    return [
        method
        for level in levels
        for method in (
            MagnitudePruning(level=level, scope=scope),  # type: ignore[arg-type]
            MagnitudePruning(level=level, scope=scope, order="highest"),  # type: ignore[arg-type]
            RandomPruning(level=level, scope=scope),  # type: ignore[arg-type]
        )
    ]


def _on_pair(
    dense: nn.Module, compressed: nn.Module, data: tuple[Tensor, Tensor], samples: int, seed: int
) -> list[StatementRow]:
    rows = _last_layer_rows(dense, compressed, data)
    try:
        rows += tabulate(_PAIR, layers_trials(dense, compressed, _subset(data, samples, seed)))
    except (CurvatureError, TheoryError) as error:
        rows.append(untried(_PAIR, "Theorem 3.5", str(error)))
    rows.append(untried(_PAIR, "Theorem 3.6", "it is about the iterates of a training, and a pair has none"))
    return rows + tabulate(_PAIR, predictive_trials(dense, compressed, data))


def _last_layer_rows(dense: nn.Module, compressed: nn.Module, data: tuple[Tensor, Tensor]) -> list[StatementRow]:
    try:
        head = Head(dense, data)
    except CurvatureError as error:
        return [untried(_PAIR, "Lemma 3.1", str(error))]
    after = compressible(compressed)[head.name]
    if torch.equal(after.detach().to("cpu", torch.float64), head.weights):
        return [untried(_PAIR, "Lemma 3.1", f"{head.name}, the last layer, was not compressed")]
    return tabulate(_PAIR, last_layer_trials(head, after))


def _held(data: Data) -> tuple[Tensor, Tensor]:
    """The data as one pair of tensors: they are read many times."""
    inputs, targets = zip(*batches(data, 4096), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def _subset(data: tuple[Tensor, Tensor], samples: int, seed: int) -> tuple[Tensor, Tensor]:
    chosen = torch.randperm(len(data[1]), generator=torch.Generator().manual_seed(seed))[:samples]
    return data[0][chosen], data[1][chosen]
