"""Integrations: a plan in the words of other tools, and its masks in training loops."""

from shrinkscope.integrations.export import TOOLS, export
from shrinkscope.integrations.training import PlanMasks, holds

__all__ = ["TOOLS", "PlanMasks", "export", "holds"]
