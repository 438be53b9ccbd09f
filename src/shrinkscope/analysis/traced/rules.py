"""What operations do to the channels of what they are given."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from shrinkscope.analysis.traced.channels import NOTHING, Classes


class Value(NamedTuple):
    """The channels of a tensor.

    ``axis`` is along which they lie, ``classes`` what they are; those of a ``gate``, such as a sigmoid, may be other
    than zero where what they were made of is gone.
    """

    axis: int
    classes: list[int]
    gate: bool = False


class Call(NamedTuple):
    """One operation: what it was given, what is known of that, and what it returned.

    ``values`` are the channels of its tensors, in their order, None for those that are not known.
    """

    arguments: Sequence[Any]
    options: Mapping[str, Any]
    values: Sequence[Value | None]
    result: Tensor
    classes: Classes


Rule = Callable[[Call], Value | None]
"""The channels of the result; None where they cannot be told, so that those of the arguments have to stay."""


def _kept(call: Call) -> Value | None:
    """Zeros stay zeros, channel by channel."""
    value = _only(call)
    return value if value is not None and not value.gate else None


def _gate(call: Call) -> Value | None:
    value = _only(call)
    return None if value is None else value._replace(gate=True)


def _pooled(call: Call) -> Value | None:
    value = _kept(call)
    return value if value is not None and value.axis < call.result.ndim - 1 else None


def _joined(call: Call) -> Value | None:
    """Sums: a channel is zero where all that it is made of are."""
    pair = _pair(call)
    if pair is None or pair[0].gate or pair[1].gate:
        return None
    return Value(pair[0].axis, call.classes.join(pair[0].classes, pair[1].classes))


def _multiplied(call: Call) -> Value | None:
    """Products: a channel is zero where one of its factors is, and the other is of no use then."""
    if len(call.values) == 1 and not _has_other_tensor(call):
        return _kept(call)  # by a number
    pair = _pair(call)
    if pair is None or (pair[0].gate and pair[1].gate):
        return None
    return Value(pair[0].axis, call.classes.join(pair[0].classes, pair[1].classes))


def _divided(call: Call) -> Value | None:
    first = call.arguments[0] if call.arguments else None
    return _kept(call) if isinstance(first, Tensor) and not _has_other_tensor(call) else None


def _averaged(call: Call) -> Value | None:
    """Over other axes than that of the channels."""
    value, given = _kept(call), call.arguments[0]
    axes = call.options.get("dim", call.arguments[1] if len(call.arguments) > 1 else None)
    if value is None or not isinstance(given, Tensor) or axes is None:
        return None
    chosen = [axis % given.ndim for axis in (axes if isinstance(axes, (tuple, list)) else (axes,))]
    return value if all(axis > value.axis for axis in chosen) else None


def _reshaped(call: Call) -> Value | None:
    """Flattened behind the first axis: each channel becomes as many columns as it has places."""
    value, given = _only(call), call.arguments[0]
    if value is None or not isinstance(given, Tensor):
        return None
    if given.shape == call.result.shape:
        return value
    if value.axis != 1 or call.result.ndim != 2 or len(given) != len(call.result):
        return None
    places = math.prod(given.shape[2:])
    return value._replace(classes=[number for number in value.classes for _ in range(places)])


def _sliced(call: Call) -> Value | None:
    value = _only(call)
    index = call.arguments[1] if isinstance(call.arguments[1], tuple) else (call.arguments[1],)
    if value is None or any(not isinstance(part, slice) for part in index):
        return None
    classes = value.classes[index[value.axis]] if value.axis < len(index) else value.classes
    return value._replace(classes=classes)


def _padded(call: Call) -> Value | None:
    """With zeros; new channels belong to no layer."""
    value = _kept(call)
    widths = call.options.get("pad", call.arguments[1] if len(call.arguments) > 1 else None)
    others = [*call.arguments[2:], *(option for name, option in call.options.items() if name not in ("input", "pad"))]
    if value is None or widths is None or any(other not in ("constant", 0, 0.0, None) for other in others):
        return None
    at = 2 * (call.result.ndim - 1 - value.axis)
    before, after = tuple(widths[at : at + 2]) or (0, 0)
    if before < 0 or after < 0:
        return None
    return value._replace(classes=[NOTHING] * before + value.classes + [NOTHING] * after)


def _concatenated(call: Call) -> Value | None:
    axis = call.options.get("dim", call.arguments[1] if len(call.arguments) > 1 else 0) % call.result.ndim
    known = [value for value in call.values if value is not None]
    if len(known) < len(call.values) or any(value.axis != axis or value.gate for value in known):
        return None
    return Value(axis, [number for value in known for number in value.classes])


_RULES: tuple[tuple[str, Rule], ...] = (
    ("relu relu_ relu6 leaky_relu elu gelu silu mish hardswish tanh dropout contiguous clone", _kept),
    ("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d", _pooled),
    ("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d", _pooled),
    ("sigmoid hardsigmoid", _gate),
    ("add add_ iadd sub sub_ isub", _joined),
    ("mul mul_ imul", _multiplied),
    ("truediv itruediv div div_", _divided),
    ("mean sum amax", _averaged),
    ("flatten view reshape", _reshaped),
    ("getitem", _sliced),
    ("pad _pad", _padded),
    ("cat concat concatenate", _concatenated),
)
_BY_NAME = {name: rule for names, rule in _RULES for name in names.split()}
_POOLS = tuple(
    getattr(nn, f"{kind}Pool{dimensions}d")
    for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax")
    for dimensions in (1, 2, 3)
)
_BY_MODULE: tuple[tuple[tuple[type[nn.Module], ...], Rule], ...] = (
    ((nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Identity), _kept),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), _kept),
    (_POOLS, _pooled),
    ((nn.Sigmoid, nn.Hardsigmoid), _gate),
    ((nn.Flatten,), _reshaped),
)


def rule_of_function(name: str) -> Rule | None:
    """What an operation does to channels; None where that is not known.

    Args:
        name: Of a function or method, such as ``"relu"``.
    """
    return _BY_NAME.get(name)


def rule_of_module(module: nn.Module) -> Rule | None:
    """What a module without weights does to channels; None where that is not known.

    Args:
        module: The module.
    """
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one, too
        return _kept if module.min_val <= 0 <= module.max_val else None
    return next((rule for kinds, rule in _BY_MODULE if isinstance(module, kinds)), None)


def _only(call: Call) -> Value | None:
    return call.values[0] if len(call.values) == 1 else None


def _pair(call: Call) -> tuple[Value, Value] | None:
    """The channels of two tensors whose channels meet one by one; None where a part is not known."""
    one, other = (*call.values, None, None)[:2]
    if len(call.values) != 2 or one is None or other is None:
        return None
    ranks = [argument.ndim for argument in call.arguments if isinstance(argument, Tensor)]
    same = one.axis == other.axis and len(set(ranks)) == 1 and len(one.classes) == len(other.classes)
    return (one, other) if same else None


def _has_other_tensor(call: Call) -> bool:
    return sum(isinstance(argument, Tensor) for argument in (*call.arguments, *call.options.values())) > 1
