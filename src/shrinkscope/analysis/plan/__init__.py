"""Plans: what sparsity each layer gets, under a budget of weights or a predicted drop."""

from shrinkscope.analysis.plan.allocations import NAMES, Allocation
from shrinkscope.analysis.plan.parts import PlanGroup, PlanPoint, PlanRow, PlanSettings, PlanVector, Rival
from shrinkscope.analysis.plan.plan import plan
from shrinkscope.analysis.plan.records import Plan

__all__ = [
    "NAMES",
    "Allocation",
    "Plan",
    "PlanGroup",
    "PlanPoint",
    "PlanRow",
    "PlanSettings",
    "PlanVector",
    "Rival",
    "plan",
]
