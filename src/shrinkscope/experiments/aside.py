"""Cells that go together on cached features: carried out in this process, beside the crew that has all others."""

import functools
from collections.abc import Callable, Sequence

import msgspec

from shrinkscope.errors import ShrinkscopeError
from shrinkscope.experiments import distributed
from shrinkscope.experiments.executor import Answer, Executor
from shrinkscope.experiments.plan import Plan
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.stage import Stage
from shrinkscope.experiments.study import Bench

OnAnswer = Callable[[Plan, Answer], None]
OnFailure = Callable[[Plan, Cell, str], None]
OnPlanStage = Callable[[Plan, Stage], None]


class Aside:
    """The cells of several studies that go together.

    Args:
        plans: The studies.
        on_answer: Called after each cell.
        on_failure: Called with each cell that failed, and why; what it raises ends everything.
        on_stage: Called while features are computed and after each epoch.
    """

    def __init__(
        self, plans: Sequence[Plan], on_answer: OnAnswer, on_failure: OnFailure, on_stage: OnPlanStage
    ) -> None:
        self._plans = plans
        self._on_answer, self._on_failure, self._on_stage = on_answer, on_failure, on_stage
        self._pruned: dict[str, list[Cell]] = {}

    def before(self) -> list[Plan]:
        """Carry out the dense networks that go together.

        Returns:
            The studies with what is left for the crew.
        """
        return [self._others(plan) for plan in self._plans]

    def after(self) -> None:
        """Carry out the pruned cells that go together; the crew is done."""
        for plan in self._plans:
            bench = Bench(plan.study, plan.networks)
            cells = self._pruned.get(plan.run.run, [])
            ready = [cell for cell in cells if bench.network_path(Cell(trial=cell.trial)).is_file()]
            for cell in cells:
                if cell not in ready:
                    self._on_failure(plan, cell, "its dense network failed")
            if ready:
                self._carry_out(plan, ready)

    def _others(self, plan: Plan) -> Plan:
        # Where several processes train one network together, none of them has all cells.
        if plan.study.path == "whole" or not plan.left or distributed.size() > 1:
            return plan
        executor = Executor(plan.task)
        try:
            found = executor.together(plan.left)
        finally:
            executor.close()
        dense = [cell for cell in found if cell.dense]
        if dense:
            self._carry_out(plan, dense)
        self._pruned[plan.run.run] = [cell for cell in found if not cell.dense]
        return msgspec.structs.replace(plan, left=tuple(cell for cell in plan.left if cell not in found))

    def _carry_out(self, plan: Plan, cells: list[Cell]) -> None:
        left = list(cells)

        def done(answer: Answer) -> None:
            left.remove(answer.cell)
            self._on_answer(plan, answer)

        executor = Executor(plan.task)
        try:
            executor.carry_out_together(cells, done, functools.partial(self._on_stage, plan))
        except ShrinkscopeError as error:
            # What ends one of them ends all: they are trained as one.
            for cell in left:
                self._on_failure(plan, cell, str(error))
        finally:
            executor.close()
