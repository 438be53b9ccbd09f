"""Divergences between distributions: closed forms and quadrature, exact to a stated error."""

from shrinkscope.divergence.gaussian import gaussian_kl
from shrinkscope.divergence.student_t import student_t_kl
from shrinkscope.divergence.student_t_general import general_student_t_kl

__all__ = ["gaussian_kl", "general_student_t_kl", "student_t_kl"]
