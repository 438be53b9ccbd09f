"""Where a tensor stands in its network, told by its name: in which numbered unit, in which part of it, which expert."""

import re

import msgspec

from shrinkscope.weights.mapping import expert_group

_WEIGHT = ".weight"
_NUMBERED = re.compile(r"^(.*?)_?\d+$")  # layer1, encoder_layer_3, denselayer12
_LAST_NUMBER = re.compile(r"^.*?(\d+)$")
# How deep a unit of this kind lies. A stage consists of layers and a layer of blocks, so that the unit of
# stages.0.blocks.2 is the inner one; that of block.3.layer.1 is the outer one, since nothing here lies in a block.
_DEPTHS = {"stage": 0, "layer": 1, "down_block": 1, "up_block": 1, "denseblock": 1, "block": 2, "resnet": 2} | {
    "attention": 2,
    "denselayer": 2,
    "unit": 2,
    "cell": 2,
    "transformer_block": 3,
}
_DEEPEST = max(_DEPTHS.values())


class Place(msgspec.Struct, frozen=True):
    """Where a tensor stands in its network.

    Attributes:
        block: The numbered unit that it belongs to, such as ``model.layers.17``; without one, its module.
        part: The rest of its name, without a last ``.weight``; the number of an expert is a ``*``.
        numbered: Whether the block is a numbered unit.
    """

    block: str
    part: str
    numbered: bool

    @property
    def family(self) -> str:
        """What blocks that differ in their last number share; empty for a block without number."""
        head, _, last = self.block.rpartition(".")
        return "" if not self.numbered else head if last.isdigit() else f"{head}.{stem(last)}".lstrip(".")

    @property
    def index(self) -> str:
        """The block's last number; its whole name when it has none."""
        return _LAST_NUMBER.sub(r"\1", self.block) if self.numbered else self.block


def place_of(name: str) -> Place:
    """Find the place of a tensor.

    The unit ends with the first number of the name that is a component of its own (``layers.17``, ``layer1.0``) or the
    end of one (``encoder_layer_3``); units within stages and layers (``stages.0.blocks.2``) count singly.

    Args:
        name: The tensor's full name.

    Returns:
        Its block and its part in it.

    >>> place_of("model.layers.17.mlp.down_proj.weight")
    Place(block='model.layers.17', part='mlp.down_proj', numbered=True)
    >>> place_of("layer1.0.conv1.weight").block, place_of("h.3.moe.experts.5.w1.weight").part
    ('layer1.0', 'moe.experts.*.w1')
    >>> place_of("fc1.bias")
    Place(block='fc1', part='bias', numbered=False)
    """
    components = name.split(".")
    end = _unit(components)
    if not end:
        module, _, parameter = name.rpartition(".")
        return Place(module or name, parameter or "weight", numbered=False)
    rest = ".".join(components[end:])
    return Place(".".join(components[:end]), without_weight(expert_group(rest) or rest), numbered=True)


def without_weight(name: str) -> str:
    """Leave out a last ``.weight``, which says nothing.

    >>> without_weight("fc1.weight"), without_weight("fc1.bias"), without_weight("weight")
    ('fc1', 'fc1.bias', 'weight')
    """
    return name.removesuffix(_WEIGHT)


def stem(component: str) -> str:
    """Leave out the number at the end of a name.

    >>> stem("encoder_layer_3"), stem("conv1"), stem("12")
    ('encoder_layer', 'conv', '')
    """
    found = _NUMBERED.match(component)
    return found[1] if found else component


def _unit(components: list[str]) -> int:
    """How many components name the unit; the last component is the parameter's and never part of it."""
    last = len(components) - 1
    for start in range(last):
        end = _numbered_until(components, start, last)
        if end:
            return _innermost(components, start, end, last)
    return 0


def _numbered_until(components: list[str], start: int, last: int) -> int:
    """Where the number that begins or ends the component at ``start`` is over; 0 when there is none."""
    first = components[start]
    if not first.isdigit() and not (_NUMBERED.match(first) and start + 2 <= last):
        # conv1.weight: the number of a layer and not of a unit, since nothing but its parameters follow.
        return 0
    end = start + 1
    while end < last and components[end].isdigit():
        end += 1
    return end


def _innermost(components: list[str], start: int, end: int, last: int) -> int:
    """Go on into units that lie in this one, as blocks lie in stages."""
    depth = _depth(components[start - 1] if components[start].isdigit() and start else components[start])
    while end < last:
        inner = _depth(components[end])
        own_number = components[end + 1].isdigit() if end + 1 < last else False
        if inner <= depth or inner > _DEEPEST or not (own_number or _numbered_until(components, end, last)):
            break
        end = _numbered_until(components, end + 1 if own_number else end, last)
        depth = inner
    return end


def _depth(component: str) -> int:
    """Depth of a container; one of an unknown name holds no units."""
    word = stem(component).lower()
    known = [depth for name, depth in _DEPTHS.items() if word in (name, f"{name}s")]
    return known[0] if known else _DEEPEST + 1
