"""Whether a layer shares its output channels with others, so that cutting one out takes all of them."""

from collections.abc import Sequence

from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

_KEEPING = (
    "batch_norm contiguous dropout elu gelu hardswish hardtanh leaky_relu mish relu relu6 relu_ sigmoid silu tanh"
)
_CHANNEL_BY_CHANNEL = frozenset(_KEEPING.split())
_SUMS = frozenset(("add", "add_", "iadd", "sub", "sub_", "isub", "mul", "mul_", "imul"))
_POOLS = ("torch.nn.modules.pooling", "torch.nn.modules.activation")


def coupling(nodes: Sequence[fx.Node], tensors: frozenset[fx.Node], model: nn.Module, start: int) -> str | None:
    """With what the outputs of one step share their channels.

    Args:
        nodes: The steps of a network.
        tensors: Those whose values are tensors.
        model: The network.
        start: The step of a convolution or linear layer.

    Returns:
        A reason for people; None when the channels are the layer's own, as far as the steps after it tell: channels are
        followed through normalisation, activation, dropout and pooling, and no further.
    """
    reached = [nodes[start]]
    for node in reached:
        for user in node.users:
            module = model.get_submodule(str(user.target)) if user.op == "call_module" else None
            others = [other for other in user.all_input_nodes if other in tensors]
            if isinstance(module, _ConvNd) and module.groups == module.in_channels > 1:
                return f"its channels go into the depthwise {user.target} one by one: cutting one out takes both"
            if _name(user) in _SUMS and len(others) > 1:
                return "its channels are combined with those of another branch: cutting one out takes all that share it"
            if _keeps_channels(user, module) and user not in reached:
                reached.append(user)
    return None


def _keeps_channels(node: fx.Node, module: nn.Module | None) -> bool:
    if module is None:
        return _name(node) in _CHANNEL_BY_CHANNEL
    if isinstance(module, (_NormBase, _DropoutNd, nn.Identity)):
        return True
    return type(module).__module__ in _POOLS and not isinstance(module, nn.MultiheadAttention)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
