"""Plans: what sparsity each layer gets, under a budget of weights or a predicted drop."""

from shrinkscope.analysis.plan.allocations import NAMES, Allocation
from shrinkscope.analysis.plan.parts import PlanPoint, PlanRow, PlanSettings, Rival
from shrinkscope.analysis.plan.plan import plan
from shrinkscope.analysis.plan.records import Plan

__all__ = ["NAMES", "Allocation", "Plan", "PlanPoint", "PlanRow", "PlanSettings", "Rival", "plan"]
