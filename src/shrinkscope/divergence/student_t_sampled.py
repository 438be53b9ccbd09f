r"""The Student-t divergence by sampling: the paper's procedure, and the same estimator from two scalars a sample.

Both estimate the mean of log p(x) - log q(x) for x drawn from p. With p and q shifted by delta, X = x - mu standard and
W chi-squared with df degrees of freedom, X = Z sqrt(df/W), the logarithm of the ratio is

.. math:: \frac{\nu + d}{2} \log\left(1 + \frac{\delta^2 W + 2 \sqrt{\nu W}\, Z^\top\delta}{\nu\,(W + Z^\top Z)}\right).

It depends on Z through its length and its angle to delta alone, which is what the second function draws. The exact
value is `student_t_kl`: these exist to reproduce what was published and to show its noise.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Dirichlet, Gamma

from shrinkscope.divergence.drawing import drawing_from
from shrinkscope.divergence.sample_mean import mean_of_draws
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity

_ELEMENTS = 2**20  # normals in memory at a time unless told otherwise: 8 MiB
_PAIRS = 2**16


def sampled_student_t_kl(
    delta: Float[Tensor, " dim"],
    *,
    df: int | float,
    samples: int = 600_000,
    repeats: int = 100,
    generator: torch.Generator,
    chunk: int | None = None,
) -> Quantity:
    """KL(t_df(mu, I)‖t_df(mu − delta, I)) in nats, estimated from samples of all coordinates as the paper does.

    Args:
        delta: Difference of the locations in units of the scale; in the paper that of 100 group means.
        df: Degrees of freedom, the same for both; the paper takes 4.
        samples: Samples a repeat.
        repeats: Repeats that are averaged.
        generator: Of the CPU; dim normal numbers and a chi-squared one are drawn for each sample.
        chunk: Samples in memory at a time; by default as many as make 8 MiB. Another chunk makes other draws.

    Returns:
        An estimate with its standard error.

    Raises:
        DivergenceError: If delta is not a finite vector, or a number is out of range.

    Source: paper, §5.3; constants and the triangular solve with the identity cancel.
    """
    delta = delta.detach().to("cpu", torch.float64)
    if delta.numel() == 0 or not bool(torch.isfinite(delta).all()):
        raise DivergenceError(f"delta has {delta.numel()} elements or is not finite; expected a finite vector")
    degrees, dim, square = _check_df(df), delta.numel(), float(delta @ delta)

    def draw(count: int) -> Tensor:
        normals = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        scaling = 2 * _gamma(degrees / 2, count, generator)
        lengths = torch.linalg.vector_norm(normals, dim=1).square()
        shift = square * scaling + 2 * (degrees * scaling).sqrt() * (normals @ delta)
        return (degrees + dim) / 2 * torch.log1p(shift / (degrees * (scaling + lengths)))

    return mean_of_draws(
        draw, samples=samples, repeats=repeats, chunk=max(1, _ELEMENTS // dim) if chunk is None else chunk
    )


def scalar_student_t_kl(
    delta: int | float,
    *,
    dim: int | float,
    df: int | float,
    samples: int = 600_000,
    repeats: int = 1,
    generator: torch.Generator,
    chunk: int = _PAIRS,
) -> Quantity:
    """The same estimate, with exactly the same law, from a radius and an angle a sample whatever the dimension is.

    Args:
        delta: Distance of the locations in units of the scale.
        dim: Number of coordinates, a whole number from 1.
        df: Degrees of freedom.
        samples: Samples a repeat.
        repeats: Repeats that are averaged.
        generator: Of the CPU.
        chunk: Samples in memory at a time. Another chunk makes other draws.

    Returns:
        An estimate with its standard error.

    Raises:
        DivergenceError: If delta is negative or not finite, or a number is out of range.

    Source: derived here: R²/(df + R²) ~ Beta(dim/2, df/2), and (1 + cosine)/2 ~ Beta((dim − 1)/2, (dim − 1)/2) in
        dim > 1; the law is compared with that of `sampled_student_t_kl` in tests/divergence/test_student_t_sampled.py.
    """
    if not (math.isfinite(delta) and delta >= 0):
        raise DivergenceError(f"delta is {delta}; expected a finite distance from 0")
    if not (math.isfinite(dim) and dim >= 1 and float(dim).is_integer()):
        raise DivergenceError(f"dim is {dim}; expected a whole number of coordinates from 1")
    degrees, count_of, distance = _check_df(df), float(dim), float(delta)

    def draw(count: int) -> Tensor:
        outer, inner = _beta_pair(count_of / 2, degrees / 2, count, generator)  # R²/(df + R²) and what it lacks to 1
        shift = (
            inner * distance**2 / degrees
            + 2 * distance * _cosine(count_of, count, generator) * (outer * inner / degrees).sqrt()
        )
        return (degrees + count_of) / 2 * torch.log1p(shift)

    return mean_of_draws(draw, samples=samples, repeats=repeats, chunk=chunk)


def _check_df(df: float) -> float:
    if not (math.isfinite(df) and df > 0):
        raise DivergenceError(f"df is {df}; expected a finite positive number of degrees of freedom")
    return float(df)


def _gamma(shape: float, count: int, generator: torch.Generator) -> Tensor:
    with drawing_from(generator):
        return Gamma(torch.tensor(shape, dtype=torch.float64), 1.0).sample(torch.Size((count,)))


def _beta_pair(first: float, second: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws of Beta(first, second) and their complements, both to full relative accuracy however small they are."""
    with drawing_from(generator):
        law = Dirichlet(torch.tensor([first, second], dtype=torch.float64))
        draws = law.sample(torch.Size((count,)))
    return draws[:, 0], draws[:, 1]


def _cosine(dim: float, count: int, generator: torch.Generator) -> Tensor:
    """Cosine of the angle between a uniform direction and a fixed one; in one dimension the sign."""
    if dim == 1:
        return 2.0 * torch.randint(2, (count,), generator=generator, dtype=torch.float64) - 1.0
    above, below = _beta_pair((dim - 1) / 2, (dim - 1) / 2, count, generator)
    return above - below
