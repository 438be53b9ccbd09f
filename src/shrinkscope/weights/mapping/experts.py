"""Which tensors are the experts of one mixture."""

import re

_MIXTURE = r"(?:^|(?<=\.))(?:experts|expert_list|local_experts|deepspeed_experts)"
# experts.3.w1, experts.expert_3.w1, expert.3.w1; a shared expert has no number.
_EXPERT = re.compile(rf"((?:{_MIXTURE}(?:\.expert)?|(?:^|(?<=\.))expert)[._])(\d+)(?=\.)")
_TOGETHER = re.compile(rf"({_MIXTURE})\.")


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


def mixture(name: str) -> str | None:
    """The mixture whose experts a tensor belongs to, for example ``"layers.3.experts"``.

    Args:
        name: A tensor's name.

    Returns:
        What the names of all tensors of all its experts begin with, those that hold all experts included; None when
        the tensor belongs to no expert among others (a shared expert, the router).

    Examples:
        >>> mixture("layers.3.experts.17.w1.weight"), mixture("layers.3.experts.gate_up_proj")
        ('layers.3.experts', 'layers.3.experts')
        >>> mixture("layers.3.shared_expert.up_proj.weight")
    """
    found = _EXPERT.search(name) or _TOGETHER.search(name)
    return None if found is None else name[: found.end(1)].rstrip("._")
