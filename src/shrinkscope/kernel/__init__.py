"""The inner loops over weights, in C where a compiler was there when the package was installed, else by PyTorch."""

from shrinkscope.kernel.library import InstructionSet, available, why_not
from shrinkscope.kernel.numbers import SIZES, Numbers, as_tensor, is_floating, type_name
from shrinkscope.kernel.sums import PairSums, pair_sums
from shrinkscope.kernel.values import GROUPS, LIMIT, distinct_values, merge_distinct, most_in_groups

__all__ = [
    "GROUPS",
    "LIMIT",
    "SIZES",
    "InstructionSet",
    "Numbers",
    "PairSums",
    "as_tensor",
    "available",
    "distinct_values",
    "is_floating",
    "merge_distinct",
    "most_in_groups",
    "pair_sums",
    "type_name",
    "why_not",
]
