"""Which channels of a network are one and the same: those that sums, batch norms and depthwise layers hold together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from shrinkscope.analysis.traced.channels import FIXED, NOTHING, Channels, Classes, LayerChannels
from shrinkscope.analysis.traced.rules import Call, Rule, Value, rule_of_function, rule_of_module
from shrinkscope.analysis.traced.trace import Steps, UntraceableError, tensors_in
from shrinkscope.errors import CompressionError
from shrinkscope.performance.forward import placement
from shrinkscope.performance.outputs import Outputs

_FUNCTIONAL = ("conv1d", "conv2d", "conv3d", "linear")


def followed_channels(model: nn.Module, inputs: Tensor, outputs: Outputs | None = None) -> Channels:
    """Follow channels through a network.

    They go through batch norm, pooling, flattening, padding, slices, concatenations and activations that leave a zero
    at zero; sums and products make them one. What anything else reads, and the network's outputs, have to stay.

    Args:
        model: The network, in evaluation mode.
        inputs: At least one input.
        outputs: Finds the tensor of scores in what the network returns.

    Returns:
        The channels of all convolutions and linear layers that were met, and of what goes with them.

    Raises:
        CompressionError: If the network cannot be traced.
    """
    try:
        steps = Steps(model, outputs)
    except UntraceableError as error:
        raise CompressionError(
            f"the channels of {type(model).__name__} cannot be followed, because its code cannot be traced ({error}); "
            "unstructured, n:m, low_rank and bits can be planned"
        ) from error
    device, dtype = placement(model)
    batch = inputs[:1].to(device=device, dtype=dtype if inputs.is_floating_point() else None)
    walk = _Walk(model)
    with torch.no_grad():
        for node, arguments, options, result in steps.values(batch.clone()):
            walk.go(node, arguments, options, result)
    return walk.found()


class _Walk:
    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._parameters = dict(model.named_parameters())
        self._classes = Classes()
        self._values: dict[fx.Node, Value] = {}
        self._tensors: set[fx.Node] = set()
        self._channels = Channels()
        self._misused: set[str] = set()

    def go(self, node: fx.Node, arguments: Sequence[Any], options: Mapping[str, Any], result: object) -> None:
        """One step on."""
        if not tensors_in(result):
            return
        self._tensors.add(node)
        if node.op in ("placeholder", "get_attr"):
            return
        found = None
        if isinstance(result, Tensor) and node.op != "output":
            found = self._after(node, arguments, options, result)
        if found is not None and len(found.classes) == result.shape[found.axis]:  # type: ignore[union-attr]
            self._values[node] = found
            return
        for given in node.all_input_nodes:
            if given in self._values:
                self._classes.fix(self._values[given].classes)
            self._misused |= {name for name in (self._parameter(given),) if name is not None}
        if found is not None:
            self._classes.fix(found.classes)

    def found(self) -> Channels:
        """All classes as they are after the last step."""
        channels, roots = self._channels, self._classes.roots
        for name in self._misused:
            layer = channels.layers.get(name)
            self._classes.fix([] if layer is None else [*layer.made, *layer.read])
            self._classes.fix(channels.vectors.get(name, []))
        return Channels(
            layers={name: LayerChannels(roots(one.made), roots(one.read)) for name, one in channels.layers.items()},
            vectors={name: roots(classes) for name, classes in channels.vectors.items()},
            buffers={name: roots(classes) for name, classes in channels.buffers.items()},
        )

    def _after(
        self, node: fx.Node, arguments: Sequence[Any], options: Mapping[str, Any], result: Tensor
    ) -> Value | None:
        """The channels of what a step made; None where those that went in have to stay."""
        rule: Rule | None
        if node.op == "call_module":
            module = self._model.get_submodule(str(node.target))
            if isinstance(module, (_ConvNd, nn.Linear)):
                return self._module(node, module, result)
            if isinstance(module, _BatchNorm):
                return self._norm(node, module)
            rule = rule_of_module(module)
        else:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            if name in _FUNCTIONAL:
                return self._function(node, result)
            rule = rule_of_function(name)
        if rule is None:
            return None
        values = [self._values.get(given) for given in node.all_input_nodes if given in self._tensors]
        return rule(Call(arguments, options, values, result, self._classes))

    def _parameter(self, node: object) -> str | None:
        """The parameter that a step reads out of the network."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        owner, _, attribute = str(node.target).rpartition(".")
        return self._names.get(id(getattr(self._model.get_submodule(owner), attribute, None)))

    def _input(self, node: fx.Node) -> Value | None:
        first = node.args[0] if node.args else node.kwargs.get("input")
        return self._values.get(first) if isinstance(first, fx.Node) else None

    def _module(self, node: fx.Node, module: nn.Module, result: Tensor) -> Value | None:
        weight = self._names.get(id(module.weight))
        if isinstance(module, _ConvTransposeNd) or weight is None:  # computed from others, as under a parametrisation
            return None
        bias = None if module.bias is None else self._names.get(id(module.bias))
        groups = getattr(module, "groups", 1)
        return self._layer(node, weight, bias, groups, result) if (module.bias is None) == (bias is None) else None

    def _function(self, node: fx.Node, result: Tensor) -> Value | None:
        places = {"weight": 1, "bias": 2, "groups": 6}
        given = {name: node.kwargs.get(name, (*node.args, *[None] * 7)[at]) for name, at in places.items()}
        weight, bias = self._parameter(given["weight"]), self._parameter(given["bias"])
        groups = given["groups"] or 1
        if weight is None or (bias is None) != (given["bias"] is None) or not isinstance(groups, int):
            return None
        return self._layer(node, weight, bias, groups, result)

    def _layer(self, node: fx.Node, name: str, bias: str | None, groups: int, result: Tensor) -> Value | None:
        weight, value = self._parameters[name], self._input(node)
        axis = result.ndim - 1 if weight.ndim == 2 else result.ndim - weight.ndim + 1
        columns = weight.shape[1] * groups
        if value is not None and (value.axis != axis or value.gate or len(value.classes) != columns):
            self._classes.fix(value.classes)
            value = None
        read = [FIXED] * columns if value is None else value.classes
        if groups == 1:
            made = self._met(name, self._classes.new(len(weight)), read)
        elif groups == columns == len(weight):  # depthwise: each channel is its own input
            # A zero that belongs to no layer comes out as a constant, which has to stay; so below.
            made = self._met(name, _constant(read), [])
        else:
            self._classes.fix(read)
            made = self._met(name, [FIXED] * len(weight), [FIXED] * weight.shape[1])
        if bias is not None:
            self._entries(self._channels.vectors, bias, made)
        return Value(axis, made)

    def _met(self, name: str, made: list[int], read: list[int]) -> list[int]:
        layer = self._channels.layers.get(name)
        if layer is not None:  # used again: its channels are what they were
            made, read = self._classes.join(layer.made, made), self._classes.join(layer.read, read)
        self._channels.layers[name] = LayerChannels(made, read)
        return made

    def _norm(self, node: fx.Node, module: nn.Module) -> Value | None:
        value, weight, bias = self._input(node), self._names.get(id(module.weight)), self._names.get(id(module.bias))
        if value is None or value.axis != 1 or value.gate or weight is None or bias is None:
            return None
        classes = _constant(value.classes)
        name = str(node.target)
        for vector in (weight, bias):
            self._entries(self._channels.vectors, vector, classes)
        for key, buffer in module.named_buffers():
            if buffer.ndim:
                self._entries(self._channels.buffers, f"{name}.{key}", classes)
        return value._replace(classes=classes)

    def _entries(self, held: dict[str, list[int]], name: str, classes: list[int]) -> None:
        held[name] = self._classes.join(held[name], classes) if name in held else list(classes)


def _constant(classes: Sequence[int]) -> list[int]:
    return [FIXED if number == NOTHING else number for number in classes]
