"""The paper's statements as functions: as published, corrected, and ones that users can rely on."""

from shrinkscope.theory.bound import Assumption, Bound

__all__ = ["Assumption", "Bound"]
