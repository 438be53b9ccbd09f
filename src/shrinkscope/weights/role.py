"""What part a tensor plays in its network: told by the module that owns it, or guessed from its name and shape."""

from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Role = Literal["convolution", "linear", "embedding", "norm", "bias", "statistic", "other"]
ROLES: tuple[Role, ...] = get_args(Role)

COMPRESSIBLE: frozenset[Role] = frozenset({"convolution", "linear"})
"""Roles of the tensors that pruning, quantisation and factorisation act on unless told otherwise."""

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_EMBEDDING_HINTS = ("embed", "wte", "wpe", "position_encoding")


def role_in_module(owner: nn.Module, parameter: str, dimensions: int) -> Role:
    """The role of a parameter, known from the module that owns it.

    Args:
        owner: The module whose attribute the tensor is.
        parameter: The attribute's name, for example ``"weight"``.
        dimensions: Number of dimensions of the tensor.

    Returns:
        The role; multi-head attention's packed projections count as linear.
    """
    if isinstance(owner, _NORMS):
        return "statistic" if parameter in _STATISTICS else "norm"
    if "bias" in parameter:
        return "bias"
    if isinstance(owner, _ConvNd):
        return "convolution"
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    if isinstance(owner, (nn.Linear, nn.Bilinear)):
        return "linear"
    if isinstance(owner, nn.MultiheadAttention) and dimensions == 2:
        return "linear"
    return role_from_name(parameter, dimensions)


def role_from_name(name: str, dimensions: int) -> Role:
    """The role of a tensor of which only the name and the number of dimensions are known: an educated guess.

    Args:
        name: Full name, for example ``"layer1.0.conv1.weight"``.
        dimensions: Number of dimensions of the tensor.

    Returns:
        The role; 1-D tensors called ``weight`` or ``gamma`` are taken for the scale of a normalisation.
    """
    lower = name.lower()
    last = lower.rpartition(".")[2]
    if last in _STATISTICS:
        return "statistic"
    if last in ("bias", "beta", "b") or last.endswith("_bias"):
        return "bias"
    if dimensions >= 3:
        return "convolution"
    if dimensions == 2:
        return "embedding" if any(hint in lower for hint in _EMBEDDING_HINTS) else "linear"
    if dimensions == 1 and last in ("weight", "gamma", "scale", "g"):
        return "norm"
    return "other"
