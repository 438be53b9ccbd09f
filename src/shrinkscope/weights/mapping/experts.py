"""Which tensors are the experts of one mixture."""

import re

_EXPERT = re.compile(r"(?:^|(?<=\.))(experts?|expert_list|local_experts)\.(\d+)\.")


def expert_group(name: str) -> str | None:
    """The name that all experts' tensors of one kind share, for example ``"layers.3.experts.*.w1.weight"``.

    Args:
        name: A tensor's name.

    Returns:
        The name with the expert's number replaced by ``*``; None when the tensor does not belong to one expert among
        others (a shared expert, the router, or all experts in one tensor).

    Examples:
        >>> expert_group("layers.3.experts.17.w1.weight")
        'layers.3.experts.*.w1.weight'
        >>> expert_group("layers.3.shared_experts.gate_proj.weight")
    """
    found = _EXPERT.search(name)
    return None if found is None else f"{name[: found.start(2)]}*{name[found.end(2) :]}"
