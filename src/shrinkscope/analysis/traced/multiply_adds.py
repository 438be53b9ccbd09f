"""How many multiply–adds each step of a network takes, told from the shapes that go in and come out."""

import math
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d, functional.linear)
_PRODUCTS = ("matmul", "bmm", "mm", "baddbmm", "addmm", "__matmul__")


def multiply_adds(node: fx.Node, module: nn.Module | None, arguments: tuple[Any, ...], value: object) -> int:
    """Multiply–adds of one step: of its products with weights, and of matrix products; elementwise work counts nothing.

    Args:
        node: The step.
        module: The module that it calls, if it calls one.
        arguments: What went in.
        value: What came out.

    Returns:
        Their number; recurrent and attention modules by the size of their weights and the number of positions, without
        the products of activations with each other inside.
    """
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    out = value if isinstance(value, Tensor) else None
    if module is not None:
        return of_module(module, tensors, out)
    if node.op == "call_function" and node.target in _CONVOLUTIONS and out is not None and len(tensors) > 1:
        return out.numel() * math.prod(tensors[1].shape[1:])
    name = getattr(node.target, "__name__", node.target)
    if name in _PRODUCTS and out is not None and len(tensors) > 1:
        return out.numel() * tensors[-2].shape[-1]
    if name == "scaled_dot_product_attention" and out is not None and len(tensors) > 2:
        return out.numel() * tensors[1].shape[-2] * 2
    return 0


def of_module(module: nn.Module, tensors: list[Tensor], out: Tensor | None) -> int:
    """Multiply–adds of one call of a module, with its weights.

    Args:
        module: The module.
        tensors: What went in.
        out: What came out; None if that is no tensor.
    """
    if isinstance(module, _ConvTransposeNd) and tensors:
        return tensors[0].numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, (_ConvNd, nn.Linear)) and out is not None:
        return out.numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or not tensors or not tensors[0].ndim:
        return 0
    positions = tensors[0].numel() // max(1, tensors[0].shape[-1])
    return positions * sum(weight.numel() for weight in module.parameters() if weight.ndim > 1)
