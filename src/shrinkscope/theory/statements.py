"""All statements of the paper that are functions here, by name and in the paper's order."""

from types import ModuleType

from shrinkscope.theory import (
    corollary_2_6,
    corollary_3_2,
    corollary_3_4,
    definition_2_3,
    definition_2_7,
    equation_3,
    equation_4,
    equation_5,
    equation_16,
    lemma_2_5,
    lemma_3_1,
    lemma_3_3,
    theorem_3_5,
    theorem_3_6,
)

STATEMENTS: dict[str, ModuleType] = {
    "Eq. (3)": equation_3,
    "Eq. (4)": equation_4,
    "Eq. (5)": equation_5,
    "Definition 2.3": definition_2_3,
    "Lemma 2.5": lemma_2_5,
    "Corollary 2.6": corollary_2_6,
    "Eq. (16)": equation_16,
    "Definition 2.7": definition_2_7,
    "Lemma 3.1": lemma_3_1,
    "Corollary 3.2": corollary_3_2,
    "Lemma 3.3": lemma_3_3,
    "Corollary 3.4": corollary_3_4,
    "Theorem 3.5": theorem_3_5,
    "Theorem 3.6": theorem_3_6,
}
"""Name → module. Each has ``as_published`` and ``corrected``."""
