"""Hooks that keep what layers were called with and what they returned, with the graph between them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.layer_rows import linear_rows
from shrinkscope.curvature.watched import Tap, WatchedLayer
from shrinkscope.errors import CurvatureError


class Use(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call of a module on a batch.

    Attributes:
        tap: The module, and how its inputs become vectors.
        inputs: What it was called with.
        rest: What else it was called with: arguments, and those with names.
        gradient: Gradient in what it returned.
        axis: The dimension of ``inputs`` that counts the network's inputs; None where there is none.
        samples: Number of the network's inputs.
    """

    tap: Tap
    inputs: Tensor
    rest: tuple[tuple[Any, ...], dict[str, Any]]
    gradient: Tensor
    axis: int | None
    samples: int

    def single(self, sample: int) -> "Use":
        """The part of this use that belongs to one of the network's inputs.

        Args:
            sample: Which of them; the use must have an axis that counts them.
        """
        if self.samples == 1:
            return self  # all of it, whatever its dimensions
        assert self.axis is not None
        inputs, gradient = (one.narrow(self.axis, sample, 1) for one in (self.inputs, self.gradient))
        return msgspec.structs.replace(self, inputs=inputs, gradient=gradient)

    def rows(self) -> "list[Tensor]":
        """Inputs at each position, in chunks of shape (groups, vectors, columns)."""
        arguments, named = self.rest
        return [*self.tap.rows(self.tap.module, (self.inputs, *arguments), named)]

    def vectors(self) -> Tensor:
        """Gradients at each position, shape (groups, positions, outputs of a group)."""
        if self.tap.rows is linear_rows:
            return self.gradient.reshape(1, -1, self.gradient.shape[-1])
        # A convolution without a batch is one of a single image.
        spatial = len(self.tap.module.kernel_size)  # type: ignore[arg-type]
        gradient = self.gradient if self.gradient.ndim == spatial + 2 else self.gradient.unsqueeze(0)
        grouped = gradient.unflatten(1, (self.tap.groups, -1)).movedim(2, -1).transpose(0, 1)
        return grouped.reshape(self.tap.groups, -1, grouped.shape[-1])


class Call(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call of a module as it was recorded.

    Attributes:
        name: Name of the weight.
        tap: The module.
        shape: Shape of its input.
        inputs: Its input; None if nothing is kept.
        rest: As for ``Use``.
        output: What it returned, a part of the graph; None if nothing is kept.
    """

    name: str
    tap: Tap
    shape: tuple[int, ...]
    inputs: Tensor | None
    rest: tuple[tuple[Any, ...], dict[str, Any]]
    output: Tensor | None


class Recorder:
    """Keeps the calls of the watched modules while it is entered.

    Args:
        plain: The network.
        watched: Layers of it.
        keep: Whether inputs and outputs are kept, and not their shapes alone.
    """

    def __init__(self, plain: nn.Module, watched: dict[str, WatchedLayer], keep: bool = True) -> None:
        self.plain, self.watched, self.keep = plain, watched, keep
        self.calls: list[Call] = []
        self.outputs: list[object] = []
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Recorder":
        for name, layer in self.watched.items():
            for tap in layer.taps:
                hook = self._hook(name, tap)
                self.handles.append(tap.module.register_forward_hook(hook, with_kwargs=True))
        self.handles.append(self.plain.register_forward_hook(lambda _, __, output: self.outputs.append(output)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def uses(
        self, scores: Tensor, cotangent: Tensor, single: Sequence[tuple[int, ...]], samples: int, *, retain: bool
    ) -> dict[str, list[Use]]:
        """The calls of each layer with the gradients in their outputs.

        Args:
            scores: Outputs of the network, a part of the graph.
            cotangent: Gradient in them.
            single: Shapes of the inputs of the calls for one of the network's inputs.
            samples: Number of the network's inputs.
            retain: Whether the graph is needed again.

        Raises:
            CurvatureError: If torch has no derivative.
        """
        outputs = [call.output for call in self.calls if call.output is not None]
        try:
            gradients = torch.autograd.grad(scores, outputs, cotangent, retain_graph=retain, materialize_grads=True)
        except (RuntimeError, NotImplementedError) as error:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            raise CurvatureError(
                f"gradients of the predictions cannot be computed: {what}; use layers that torch can differentiate"
            ) from error
        found: dict[str, list[Use]] = {name: [] for name in self.watched}
        same = len(single) == len(self.calls)
        for number, (call, gradient) in enumerate(zip(self.calls, gradients, strict=True)):
            assert call.inputs is not None
            axis = _axis(call, single[number] if same else None, samples)
            use = Use(tap=call.tap, inputs=call.inputs, rest=call.rest, gradient=gradient, axis=axis, samples=samples)
            found[call.name].append(use)
        return found

    def _hook(self, name: str, tap: Tap) -> Callable[..., Tensor]:
        def record(_: nn.Module, arguments: tuple, named: dict, output: Tensor) -> Tensor:
            given = arguments[0] if arguments else named["input"]
            rest = (arguments[1:], {key: value for key, value in named.items() if key != "input"})
            kept, result = None, output
            if self.keep:
                # Copies: what follows may change input or output in place. No weight needs a gradient, so that the
                # first layer's output is where the graph begins.
                kept = output if output.requires_grad else output.requires_grad_()
                given, result = given.detach().clone(), output.clone()
            self.calls.append(
                Call(
                    name=name,
                    tap=tap,
                    shape=tuple(given.shape),
                    inputs=given if self.keep else None,
                    rest=rest,
                    output=kept,
                )
            )
            return result

        return record


def _axis(call: Call, single: tuple[int, ...] | None, samples: int) -> int | None:
    """The dimension that counts the network's inputs: the one that is 1 for a single input, and their number here."""
    if samples == 1:
        return 0
    if single is None or len(single) != len(call.shape):
        # Layers that are called depending on the inputs cannot be compared with a call for one.
        return 0 if call.shape[0] == samples else None
    differing = [axis for axis, (one, all_) in enumerate(zip(single, call.shape, strict=True)) if one != all_]
    if len(differing) != 1 or (single[differing[0]], call.shape[differing[0]]) != (1, samples):
        return None
    axis = differing[0]
    return axis if axis == 0 or (call.tap.rows is linear_rows and axis < len(single) - 1) else None
