"""Latents that can be asked for by name, on the command line and in Python."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from shrinkscope.errors import LatentError
from shrinkscope.latent.base import Latent
from shrinkscope.latent.gaussian import Gaussian
from shrinkscope.latent.informed_names import STATISTICS, informed_name
from shrinkscope.latent.projection import GroupMeans
from shrinkscope.latent.scale import FixedScale
from shrinkscope.latent.student_t import StudentT


def _rotated() -> Latent:
    from shrinkscope.latent.rotated import RotatedGaussian

    return RotatedGaussian()


def _rotated_grouped() -> Latent:
    from shrinkscope.latent.rotated import RotatedGaussian

    return RotatedGaussian(name="gaussian_rotated_grouped", projection=GroupMeans(groups=100))


def _sampled() -> Latent:
    from shrinkscope.latent.sampled import SampledStudentT

    return SampledStudentT()


def _uniform() -> Latent:
    from shrinkscope.latent.uniform import Uniform

    return Uniform()


_MAKERS: dict[str, Callable[[], Latent]] = {
    "gaussian": Gaussian,
    "gaussian_fixed": partial(Gaussian, name="gaussian_fixed", scale=FixedScale(sigma=1.0)),
    "gaussian_rotated": _rotated,
    "gaussian_rotated_grouped": _rotated_grouped,
    "student_t": StudentT,
    "student_t_grouped": partial(
        StudentT,
        name="student_t_grouped",
        df=4.0,
        scale=FixedScale(sigma=1.0),
        projection=GroupMeans(groups=100),
    ),
    "student_t_sampled": _sampled,
    "uniform": _uniform,
}


class _Named(Mapping[str, Latent]):
    """Latents that are made, and what they need imported, when they are asked for."""

    def __getitem__(self, name: str) -> Latent:
        return _MAKERS[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


NAMED: Mapping[str, Latent] = _Named()
"""Name → latent; ``student_t_grouped`` has the paper's settings (ν = 4, identity scale, 100 group means), and
``student_t_sampled`` estimates the same value as the paper does, from 600,000 samples."""

DEFAULT = ("gaussian", "student_t")


def resolve_latents(latents: Iterable[Latent | str]) -> tuple[Latent, ...]:
    """Latents from names and objects, each column once.

    Args:
        latents: Names (see ``NAMED``), latents of the package, or the user's own.

    Returns:
        The latents in the order given.

    Raises:
        LatentError: If a name is unknown, an object is no latent, or two latents share a column.
    """
    chosen = tuple(_resolve(latent) for latent in latents)
    columns = [latent.column for latent in chosen]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise LatentError(f"two latents write the column {', '.join(twice)}; give one of them another name")
    return chosen


def _resolve(latent: Latent | str) -> Latent:
    if isinstance(latent, str):
        if informed_name(latent) is not None:
            raise LatentError(
                f"the latent {latent!r} is gathered from unlabelled inputs, which are not given; give them with the "
                "network to compare (diff --network … --inputs …), or InformedGaussian(precisions=…)"
            )
        if latent not in NAMED:
            raise LatentError(
                f"unknown latent {latent!r}; known: {', '.join(sorted(NAMED))}; from inputs: {', '.join(STATISTICS)}, "
                "each also as relative_… and student_t_…"
            )
        return NAMED[latent]
    if not isinstance(latent, Latent):
        raise LatentError(f"a {type(latent).__name__} is no latent; it needs column, groups and divergence(summary)")
    return latent
