"""What is left of a study, and what it costs: cells, passes over the data, and time where cells were timed before."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec

from shrinkscope.experiments.heads import goes_together
from shrinkscope.experiments.plan import Plan
from shrinkscope.experiments.study import Bench


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a study has done and has left.

    Attributes:
        study: Its name.
        run: Key of its run.
        cells: Cells that are asked for.
        done: Those that are done.
        trainings: Dense networks left to train.
        finetunings: Prunings left to fine-tune.
        samples: Training samples.
        together: How many of those left train their last layer on features that are computed once.
        steps: Optimiser steps of the whole network that are left: those of the others.
        evaluations: Forward passes of single samples that measuring the others takes.
        seconds: Estimate of the time in one process, from the cells of this run that are done; None without any.
    """

    study: str
    run: str
    cells: int
    done: int
    trainings: int
    finetunings: int
    samples: int
    together: int
    steps: int
    evaluations: int
    seconds: float | None


def cost_of(plan: Plan) -> Cost:
    """What a study costs.

    Args:
        plan: What is left of it.

    Returns:
        The cost.

    Raises:
        DataError: If the data cannot be opened.
        FeaturesError: If the study demands features that its network does not have.
    """
    study = plan.study
    bench = Bench(study, plan.networks)
    together = {cell for cell in plan.left if goes_together(bench, cell)}
    dense = [cell for cell in plan.left if cell.dense]
    pruned = [cell for cell in plan.left if not cell.dense]
    count = len(bench.data.train) if not isinstance(bench.data, tuple) else len(bench.data.y_train)
    passes = _evaluated(bench)
    alone = [cell for cell in plan.left if cell not in together]
    steps, evaluations = 0, 0
    for cell in alone:
        training = study.training if cell.dense else study.finetuning
        if training is not None:
            steps += training.epochs * -(-count // training.batch_size)
        evaluations += passes * (1 if cell.dense else 1 + study.finetuning.epochs)
    return Cost(
        study=study.name,
        run=plan.run.run,
        cells=len(plan.cells),
        done=len(plan.cells) - len(plan.left),
        trainings=len(dense),
        finetunings=len(pruned),
        samples=count,
        together=len(together),
        steps=steps,
        evaluations=evaluations,
        seconds=_seconds(plan, len(dense), len(pruned)),
    )


def cost_rows(costs: Sequence[Cost]) -> Iterator[str]:
    """Costs as lines of text, and their sum.

    Args:
        costs: Of the studies.
    """
    for cost in costs:
        time = "time unknown: no cell was timed yet" if cost.seconds is None else f"about {cost.seconds:,.0f} s"
        left = cost.trainings + cost.finetunings
        work = [f"{cost.together} of them last layers alone, on features computed once"] * (cost.together > 0)
        if left > cost.together:
            work.append(f"{cost.steps:,} steps and {cost.evaluations:,} evaluations of a sample")
        yield (
            f"{cost.study}  run {cost.run}  {cost.done} of {cost.cells} cells done; left: {cost.trainings} dense "
            f"networks and {cost.finetunings} fine-tunings on {cost.samples:,} samples"
            f"{''.join(f', {part}' for part in work)}; {time}"
        )
    left = sum(cost.trainings + cost.finetunings for cost in costs)
    yield f"{sum(cost.cells for cost in costs)} cells in {len(costs)} studies, {left} left"


def _evaluated(bench: Bench) -> int:
    measured = bench.measured
    parts = (measured.y_train, measured.y_test) if isinstance(measured, tuple) else (measured.train, measured.test)
    return sum(map(len, parts))


def _seconds(plan: Plan, dense: int, pruned: int) -> float | None:
    if not plan.store.is_file():
        return None
    with closing(sqlite3.connect(f"file:{plan.store}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT method = 'dense', avg(seconds) FROM cells WHERE run = ? GROUP BY 1", (plan.run.run,)
        ).fetchall()
    means: dict[int, float] = dict(rows)
    if (dense and 1 not in means) or (pruned and 0 not in means):
        return None
    return dense * means.get(1, 0.0) + pruned * means.get(0, 0.0)
