"""Divergences as functions of two distributions that look up their formula by the two types."""

import functools
import inspect
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from shrinkscope.divergence.distributions import Distribution
from shrinkscope.divergence.pairs import PairTable
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity

Parameters = ParamSpec("Parameters")
Formula = TypeVar("Formula", bound=Callable[..., Quantity])


class Divergence(Generic[Parameters]):
    """A function of two distributions whose formula depends on their types, as `functools.singledispatch` does for one.

    It decorates the general function, whose body answers for pairs without a formula of their own, most often by
    `unknown`. The table belongs to this object: nothing is registered anywhere else, torch's tables included.

    Args:
        general: A function of two distributions, and possibly more, that returns a Quantity.

    Example:
        >>> @Divergence
        ... def gap(p: Distribution, q: Distribution) -> Quantity:
        ...     return Quantity(value=abs(p.total_variance() - q.total_variance()), unit="weight²")
        >>> from shrinkscope.divergence import MultivariateGaussian
        >>> from shrinkscope.divergence.covariance import Isotropic
        >>> import torch
        >>> gap(*(MultivariateGaussian(torch.zeros(2), Isotropic(2, v)) for v in (1.0, 1.5))).value
        1.0
    """

    def __init__(self, general: Callable[Parameters, Quantity]) -> None:
        functools.update_wrapper(self, general)
        self.name: str = general.__name__
        self._general = general
        self._signature = inspect.signature(general)
        self._table = PairTable()

    def register(self, first: type, second: type) -> Callable[[Formula], Formula]:
        """Decorator that files a formula for two types of distributions, and for subclasses that have none closer.

        Args:
            first: Type of the first distribution.
            second: Type of the second distribution.

        Returns:
            A decorator that returns the formula as it is. The formula takes the arguments of the divergence.
        """
        file = self._table.register(first, second)

        def decorate(formula: Formula) -> Formula:
            file(formula)
            return formula

        return decorate

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Quantity:
        """The divergence of two distributions, by the formula of their types.

        Raises:
            DivergenceError: If their dimensions differ, no formula exists, or the formula refuses.
        """
        p, q, *_ = self._signature.bind(*args, **kwargs).args
        if isinstance(p, Distribution) and isinstance(q, Distribution) and p.dim != q.dim:
            raise DivergenceError(
                f"{self.name} of distributions of dimensions {p.dim} and {q.dim}; expected equal ones"
            )
        formula = self._table.find(p, q) or self._general
        return formula(*args, **kwargs)

    def unknown(self, p: object, q: object) -> DivergenceError:
        """The error for a pair without a formula: which pairs have one, and what else can be done.

        Args:
            p: First distribution.
            q: Second distribution.

        Returns:
            The exception, to be raised.
        """
        return DivergenceError(
            f"no {self.name} for {_name(p)} and {_name(q)}; known: {self._table.known()}. Add yours with "
            f"@{self.name}.register(…, …), or estimate KL by sampling: monte_carlo_kl takes any pair of "
            f"torch.distributions"
        )

    def __repr__(self) -> str:
        return f"<divergence {self.name}: {self._table.known() or 'read off another divergence'}>"


def _name(value: object) -> str:
    """Name of its type, with the module where that is not ours: torch has types of similar names."""
    kind = type(value)
    return kind.__name__ if isinstance(value, Distribution) else f"{kind.__module__}.{kind.__name__}"
