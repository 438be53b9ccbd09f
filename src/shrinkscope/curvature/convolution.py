"""Convolutions whose class has a forward of its own, opened: what they convolve with their weight can be seen.

Such classes pad their input in another way (EfficientNet's, timm's ``Conv2dSame``), scale it, or standardise their
weights. What they do is not known, but that they end in a call of torch's convolution is: it is caught, and when it is
of the module's own weight, made by a module that is called, as other layers are.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, conv3d
from torch.nn.modules.utils import _ntuple
from torch.overrides import TorchFunctionMode

from shrinkscope.errors import CurvatureError

_KNOWN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FORWARD = tuple(kind.forward for kind in _KNOWN)
_CONVOLVE = tuple(kind._conv_forward for kind in _KNOWN)
_FUNCTIONS = (conv1d, conv2d, conv3d)


class Product(nn.Module):
    """The convolution that an opened module makes, with the settings that it makes it with; it owns no weight.

    Args:
        owner: The module.
    """

    padding_mode = "zeros"

    def __init__(self, owner: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.kernel_size, self.groups = owner.kernel_size, owner.groups
        self.settings: tuple[Any, ...] | None = None
        self.passed_over = False

    def forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002  # torch's name
        """The convolution."""
        convolve = _FUNCTIONS[len(self.kernel_size) - 1]
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def set(self, kind: str, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
        """Take the settings of a call.

        Raises:
            CurvatureError: If they are others than those of the call before, or in other groups than the module says.
        """
        each = _ntuple(len(self.kernel_size))
        settings = (each(stride), padding if isinstance(padding, str) else each(padding), each(dilation), groups)
        if groups != self.groups or self.settings not in (None, settings):
            raise CurvatureError(
                f"a {kind} convolves with other settings {settings} than {self.settings or self.groups} before; leave "
                "the layer out"
            )
        self.settings = settings
        self.stride, self.padding, self.dilation, _ = settings
        self._reversed_padding_repeated_twice = self._sides()

    def _sides(self) -> list[int]:
        """Padding before and after, of the last dimension first, as ``torch.nn.functional.pad`` takes it."""
        sides = []
        for axis in reversed(range(len(self.kernel_size))):
            if isinstance(self.padding, str):
                whole = self.dilation[axis] * (self.kernel_size[axis] - 1) if self.padding == "same" else 0
                sides += [whole // 2, whole - whole // 2]
            else:
                sides += [self.padding[axis]] * 2
        return sides


class _Caught(TorchFunctionMode):
    """While entered, convolutions of a module's own weight are made by its product."""

    def __init__(self, owner: "_Opened") -> None:
        super().__init__()
        self.owner, self.count = owner, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if function not in _FUNCTIONS:
            return function(*args, **named)
        given, weight, bias, *settings = _arguments(*args, **named)
        if weight is not self.owner.weight:
            return function(*args, **named)
        self.count += 1
        self.owner.product.set(type(self.owner).__name__, *settings)
        return self.owner.product(given, weight, bias)


def _arguments(
    input: Tensor,  # noqa: A002  # torch's names, by which it may be called
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...]:
    """The arguments of torch's convolutions in their order, defaults filled in."""
    return input, weight, bias, stride, padding, dilation, groups


def open_convolutions(plain: nn.Module) -> nn.Module:
    """Open every convolution whose class has a forward of its own, in place; names and parameters stay as they are.

    Args:
        plain: A plain copy of a network.

    Returns:
        The same network.
    """
    for module in list(plain.modules()):
        if isinstance(module, _KNOWN) and _has_own_forward(type(module)):
            kind = type(module)
            product = Product(module)
            module.__class__ = type(kind.__name__, (_Opened, kind), {})  # pyright: ignore[reportAttributeAccessIssue]
            module.product = product
    return plain


def _has_own_forward(kind: type[nn.Conv1d | nn.Conv2d | nn.Conv3d]) -> bool:
    return kind.forward not in _FORWARD or kind._conv_forward not in _CONVOLVE


def opened(module: nn.Module) -> Product | None:
    """The product of an opened convolution; None for every other module.

    Args:
        module: A module of an opened network.
    """
    return module.product if isinstance(module, _Opened) else None


class _Opened(nn.Module):
    """What an opened convolution is besides its own class."""

    weight: nn.Parameter
    product: Product

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """As its own class computes it."""
        with _Caught(self) as caught:
            found = super().forward(*arguments, **named)
        self.product.passed_over |= caught.count == 0
        return found
