"""KL divergence of any two of torch's distributions by sampling: always an estimate, always with its standard error."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from shrinkscope.divergence.drawing import drawing_from
from shrinkscope.divergence.sample_mean import mean_of_draws
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


def monte_carlo_kl(
    p: Distribution,
    q: Distribution,
    *,
    samples: int,
    repeats: int = 1,
    generator: torch.Generator,
    chunk: int = 16_384,
) -> Quantity:
    """KL(p‖q) in nats, estimated as the mean of log p(x) − log q(x) over samples x of p.

    Args:
        p: Where samples are drawn from: any distribution with `sample` and `log_prob` and an empty batch shape. Its
            parameters should be float64: the difference of two logarithms loses the digits that they have in common.
        q: The other one, of the same event shape.
        samples: Samples a repeat.
        repeats: Repeats that are averaged; the paper takes 100.
        generator: Of the CPU; it stands in for torch's global generator while p is sampled (see `drawing_from`).
        chunk: Samples in memory at a time. Another chunk makes other draws from the same generator.

    Returns:
        An estimate with its standard error; `Quantity.unresolved` says whether it is noise.

    Raises:
        DivergenceError: If the event shapes differ, there is a batch of distributions, the samples are not on the CPU,
            q has no density where p has some, or a number is out of range.

    Source: paper, §5.3 (600,000 samples, 100 repeats); standard error of a sample mean.
    """
    _check_pair(p, q)

    def draw(count: int) -> Tensor:
        with torch.no_grad(), drawing_from(generator):
            points = p.sample(torch.Size((count,)))
        if points.device.type != "cpu":
            raise DivergenceError(f"p has its samples on {points.device}; sampled divergences are drawn on the CPU")
        with torch.no_grad():
            return p.log_prob(points).to(torch.float64) - _log_density(q, points).to(torch.float64)

    return mean_of_draws(draw, samples=samples, repeats=repeats, chunk=chunk)


def _check_pair(p: Distribution, q: Distribution) -> None:
    for name, distribution in (("p", p), ("q", q)):
        if distribution.batch_shape:
            raise DivergenceError(
                f"{name} is a batch of {type(distribution).__name__} of shape {tuple(distribution.batch_shape)}; "
                "expected one distribution (torch.distributions.Independent makes a product of a batch)"
            )
    if p.event_shape != q.event_shape:
        raise DivergenceError(
            f"p has samples of shape {tuple(p.event_shape)}, q of shape {tuple(q.event_shape)}; expected the same"
        )


def _log_density(q: Distribution, points: Tensor) -> Tensor:
    """Logarithm of the density of q at samples that its own support must hold.

    torch checks the support only where its distributions validate their arguments, a default of the whole process that
    other code turns off (torch.compile does); so it is checked here.
    """
    try:
        inside = bool(q.support.check(points).all()) if q.support is not None else True
    except NotImplementedError:  # q says nothing of its support: infinite logarithms are found later
        inside = True
    if not inside:
        raise DivergenceError(
            f"samples of p lie outside the support of q ({type(q).__name__}): the divergence is infinite"
        )
    return q.log_prob(points)
