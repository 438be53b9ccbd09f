"""A plan as torchao's filter function: which linear layers ``quantize_`` and ``sparsify_`` act on."""

import inspect
import json
from collections.abc import Callable, Mapping

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from shrinkscope.analysis.plan import Plan
from shrinkscope.compression.checks import as_fraction
from shrinkscope.errors import IntegrationError
from shrinkscope.integrations.layers import pruned_modules, python_table, title

FilterFunction = Callable[[nn.Module, str], bool]

HALF = 0.5
"""Level from which a layer is taken: 2:4 sparsity removes half of the weights."""

_SCRIPT = '''"""{title}

    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    quantize_(model, Int8WeightOnlyConfig(), filter_fn)

takes the linear layers that lose at least AT_LEAST of their weights in the plan, those that bear compression best.
"""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

AT_LEAST = {at_least!r}

{levels}


def filter_fn(module: nn.Module, fqn: str) -> bool:
    """Whether torchao is to act on a module; fqn is its full name."""
    return takes(module, fqn, LEVELS, AT_LEAST)


{function}'''


def filter_fn(plan: Plan, *, at_least: float = HALF) -> FilterFunction:
    """The ``filter_fn`` of torchao's ``quantize_`` and ``sparsify_`` that takes the layers which the plan prunes most.

    Args:
        plan: The plan.
        at_least: Level from which a layer is taken, in [0, 1]. Half is what 2:4 sparsity removes.

    Returns:
        ``filter_fn(module, fqn) → bool``: linear layers that the plan prunes to that level. As in torchao's own filter,
        convolutions and the output projections inside ``nn.MultiheadAttention`` are not among them.

    Raises:
        CompressionError: If ``at_least`` is no fraction.
        IntegrationError: If no layer of the plan reaches the level, or one is not the ``weight`` of a module.
    """
    levels = _levels(plan, at_least)
    return lambda module, fqn: takes(module, fqn, levels, at_least)


def torchao_script(plan: Plan, *, at_least: float = HALF) -> str:
    """A Python module with ``filter_fn`` for torchao; it needs nothing but torch.

    Args:
        plan: The plan.
        at_least: As for ``filter_fn``.

    Raises:
        CompressionError: If ``at_least`` is no fraction.
        IntegrationError: If no layer of the plan reaches the level, or one is not the ``weight`` of a module.
    """
    lines = [f"{json.dumps(name)}: {level!r}" for name, level in _levels(plan, at_least).items()]
    return _SCRIPT.format(
        title=title(plan),
        at_least=at_least,
        levels=python_table("LEVELS", "module → fraction of its weights that the plan removes", lines),
        function=inspect.getsource(takes),
    )


def takes(module: nn.Module, fqn: str, levels: Mapping[str, float], at_least: float) -> bool:
    """Whether a module is a linear layer that loses at least so much of its weights."""
    linear = isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)
    return linear and fqn in levels and levels[fqn] >= at_least


def _levels(plan: Plan, at_least: float) -> dict[str, float]:
    as_fraction("at_least", at_least)
    levels = pruned_modules(plan, "torchao")
    most = max(levels, key=levels.__getitem__)
    if levels[most] < at_least:
        raise IntegrationError(
            f"no layer loses {at_least} of its weights, the most is {levels[most]:.3f} of {most}: lower at_least"
        )
    return levels
