"""Between reading and pairing: names, fused tensors, factors, adapters and removed channels brought to one form."""

from shrinkscope.weights.mapping.comparable import comparable
from shrinkscope.weights.mapping.experts import expert_group, mixture
from shrinkscope.weights.mapping.rules import Alignment, Factors, Fusion, Rename, Rules, read_kept, read_rules
from shrinkscope.weights.mapping.step import Note, Step

__all__ = [
    "Alignment",
    "Factors",
    "Fusion",
    "Note",
    "Rename",
    "Rules",
    "Step",
    "comparable",
    "expert_group",
    "mixture",
    "read_kept",
    "read_rules",
]
