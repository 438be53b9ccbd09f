"""Gradients of log p(y|x) in the outputs of layers, for labels y that the network itself predicts."""

from collections.abc import Callable, Iterator

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.layer_rows import Rows
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.watched import WatchedLayer
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import forward
from shrinkscope.performance.outputs import scores_of

FUSED = "torch computes attention in one piece, in which the gradient of this projection's output does not appear"


class Use(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call of a module on a batch.

    Attributes:
        module: The module.
        rows: How its inputs become vectors.
        groups: Groups of its outputs.
        inputs: What it was called with.
        gradient: Gradient of √w log p(y|x) of each sample in what it returned, w the weight of its label y, so that
            squares add up to the expectation over labels.
    """

    module: nn.Module
    rows: Rows
    groups: int
    inputs: Tensor
    gradient: Tensor

    def vectors(self, samples: slice = slice(None)) -> Tensor:
        """Gradients at each position, shape (groups, positions, outputs of a group).

        Args:
            samples: Which entries of the first dimension.
        """
        gradient = self.gradient[samples]
        if isinstance(self.module, nn.Linear):
            return gradient.reshape(1, -1, gradient.shape[-1])
        grouped = gradient.unflatten(1, (self.groups, -1)).movedim(2, -1).transpose(0, 1)
        return grouped.reshape(self.groups, -1, grouped.shape[-1])


Receive = Callable[[dict[str, list[Use]], int, bool], None]
"""Called with the uses of each layer, the number of inputs in the batch, and whether these uses are its first."""


def label_gradients(
    plain: nn.Module,
    watched: dict[str, WatchedLayer],
    inputs: Inputs,
    receive: Receive,
    *,
    draws: int | None,
    generator: torch.Generator,
    batch_size: int,
    memory_limit: int | None,
    progress: Callable[[int], None] | None,
) -> int:
    """Hand on the gradients of log p(y|x) for labels of the network's own, batch by batch.

    Args:
        plain: A plain copy of the network, which gives logits.
        watched: Layers whose modules return their products.
        inputs: Unlabelled inputs, read once.
        receive: Takes the gradients; for each batch once a draw, or once a class.
        draws: Labels drawn for each input; None for every class, weighted by its probability.
        generator: Source of the labels.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor.
        memory_limit: Bytes that a batch's activations may take; what is available when None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        Number of inputs.

    Raises:
        CurvatureError: If draws is not positive, the outputs are not logits of classes, or a batch does not fit.
        DataError: If the inputs do not fit the network.
    """
    if draws is not None and draws < 1:
        raise CurvatureError(f"draws = {draws}; expected at least 1, or None for the expectation over all classes")
    samples = 0
    for batch in input_batches(inputs, batch_size):
        if samples == 0:
            _check_fits(plain, batch, memory_limit)
        with _Recorder(plain, watched) as recorder, torch.enable_grad():
            forward("the network", plain, batch)
        log_probabilities = torch.log_softmax(_logits(scores_of("the network", recorder.outputs[-1])), dim=1)
        number = log_probabilities.shape[1] if draws is None else draws
        for index, (labels, weights) in enumerate(_labels(log_probabilities.detach().exp(), draws, generator)):
            chosen = log_probabilities.gather(1, labels[:, None])[:, 0]
            uses = recorder.uses((weights.sqrt() * chosen).sum(), retain=index < number - 1)
            receive(uses, len(batch), index == 0)
        samples += len(batch)
        if progress is not None:
            progress(samples)
    return samples


class _Recorder:
    """Hooks that keep the inputs and outputs of the watched modules, with the graph between them."""

    def __init__(self, plain: nn.Module, watched: dict[str, WatchedLayer]) -> None:
        self.plain, self.watched = plain, watched
        self.calls: list[tuple[str, nn.Module, Rows, int, Tensor, Tensor]] = []
        self.outputs: list[object] = []
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "_Recorder":
        for name, layer in self.watched.items():
            for tap in layer.taps:
                hook = self._hook(name, tap.rows, tap.groups)
                self.handles.append(tap.module.register_forward_hook(hook, with_kwargs=True))
        self.handles.append(self.plain.register_forward_hook(lambda _, __, output: self.outputs.append(output)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def uses(self, likelihood: Tensor, *, retain: bool) -> dict[str, list[Use]]:
        """The calls of each layer with the gradients of the likelihood in their outputs."""
        outputs = [call[-1] for call in self.calls]
        try:
            gradients = torch.autograd.grad(likelihood, outputs, retain_graph=retain, materialize_grads=True)
        except (RuntimeError, NotImplementedError) as error:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            raise CurvatureError(
                f"gradients of the predictions cannot be computed: {what}; use layers that torch can differentiate"
            ) from error
        found: dict[str, list[Use]] = {name: [] for name in self.watched}
        for (name, module, rows, groups, inputs, _), gradient in zip(self.calls, gradients, strict=True):
            found[name].append(Use(module=module, rows=rows, groups=groups, inputs=inputs, gradient=gradient))
        return found

    def _hook(self, name: str, rows: Rows, groups: int) -> Callable[..., Tensor]:
        def keep(module: nn.Module, arguments: tuple, named: dict, output: Tensor) -> Tensor:
            # Copies: what follows may change input or output in place. No weight needs a gradient, so that the first
            # layer's output is where the graph begins.
            inputs = (arguments[0] if arguments else named["input"]).detach().clone()
            output = output if output.requires_grad else output.requires_grad_()
            self.calls.append((name, module, rows, groups, inputs, output))
            return output.clone()

        return keep


def _logits(outputs: Tensor) -> Tensor:
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise CurvatureError(
            f"the network returned shape {tuple(outputs.shape)}; labels are drawn from classifiers: expected logits of "
            "shape (inputs, classes) with at least 2 classes"
        )
    if not bool(torch.isfinite(outputs).all()):
        raise CurvatureError("the network returned NaN or infinite logits; it predicts nothing there")
    if not outputs.requires_grad:
        raise CurvatureError("no watched layer has an influence on the outputs; select layers that have")
    return outputs.to(torch.float64)


def _labels(probabilities: Tensor, draws: int | None, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels of a batch with their weights: every class by its probability, or draws by one over their number."""
    if draws is None:
        for label in range(probabilities.shape[1]):
            yield torch.full((len(probabilities),), label, device=probabilities.device), probabilities[:, label]
        return
    drawn = torch.multinomial(probabilities.to(generator.device), draws, replacement=True, generator=generator)
    weights = torch.full_like(probabilities[:, 0], 1 / draws)
    for labels in drawn.to(probabilities.device).unbind(dim=1):
        yield labels, weights


def _check_fits(plain: nn.Module, batch: Tensor, memory_limit: int | None) -> None:
    sizes: list[int] = []

    def add(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and next(module.children(), None) is None:
            sizes.append(output.numel() * output.element_size())

    handles = [module.register_forward_hook(add) for module in plain.modules()]
    try:
        with torch.no_grad():
            forward("the network", plain, batch[:1])
    finally:
        for handle in handles:
            handle.remove()
    # Each layer's input and output are kept, copied, and a gradient is made of each; see NetworkCurvature.workspace.
    check_memory(
        f"the gradients of a batch of {len(batch)} inputs",
        6 * sum(sizes) * len(batch),
        memory_limit,
        next(plain.parameters()).device,
        "take smaller batches",
    )
