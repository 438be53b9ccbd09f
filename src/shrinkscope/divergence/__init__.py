"""Divergences between distributions: closed forms and quadrature, exact to a stated error."""

from shrinkscope.divergence.student_t import student_t_kl

__all__ = ["student_t_kl"]
