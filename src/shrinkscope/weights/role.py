"""What part a tensor plays in its network, guessed from its name and shape."""

from typing import Literal, get_args

Role = Literal["convolution", "linear", "embedding", "norm", "bias", "statistic", "other"]
ROLES: tuple[Role, ...] = get_args(Role)

COMPRESSIBLE: frozenset[Role] = frozenset({"convolution", "linear"})
"""Roles of the tensors that pruning, quantisation and factorisation act on unless told otherwise."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What batch norms call their statistics."""

_EMBEDDING_HINTS = ("embed", "wte", "wpe", "position_encoding")


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
    if last in STATISTICS:
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
