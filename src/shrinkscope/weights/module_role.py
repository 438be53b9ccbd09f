"""What part a tensor plays in its network, told by the module that owns it."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from shrinkscope.weights.role import STATISTICS, Role, role_from_name

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


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
        return "statistic" if parameter in STATISTICS else "norm"
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
