"""What latents whose Σ⁻¹ is gathered from inputs are called."""

from collections.abc import Iterable
from typing import NamedTuple

STATISTICS = ("input", "input_block", "input_diagonal", "fisher", "kfac", "gauss_newton")
"""Names of the Σ⁻¹ that are gathered from inputs; those of the latents are made from them."""


class InformedName(NamedTuple):
    """What the name of a latent says: that of its column without ``ap3_``, ``[student_t_][relative_]STATISTIC``."""

    statistic: str
    relative: bool
    student_t: bool


def informed_name(name: str) -> InformedName | None:
    """What a name says of a latent whose Σ⁻¹ is gathered from inputs; None if it is the name of no such latent.

    Args:
        name: For example ``"fisher"`` or ``"student_t_relative_input"``.
    """
    rest = name.removeprefix("student_t_")
    statistic = rest.removeprefix("relative_")
    if statistic not in STATISTICS:
        return None
    return InformedName(statistic, relative=statistic != rest, student_t=rest != name)


def informed_names(latents: Iterable[object]) -> list[str]:
    """The names among latents whose Σ⁻¹ is gathered from inputs, in their order.

    Args:
        latents: Names and latents.
    """
    return [latent for latent in latents if isinstance(latent, str) and informed_name(latent) is not None]
