"""What the last linear layer is given and gives: read off in one pass by forward hooks."""

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.loss import MeanLoss
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.samples import Samples
from shrinkscope.curvature.snapshot import nearest
from shrinkscope.errors import CurvatureError
from shrinkscope.performance import evaluate


class LastLayer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The last linear layer of a network with its inputs and outputs on some samples.

    Attributes:
        name: Its name.
        layer: The module.
        features: Its inputs h, float64 on the CPU, shape (n, features).
        logits: Its outputs, which are those of the network, float64 on the CPU, shape (n, classes).
        targets: Class indices, shape (n,).
    """

    name: str
    layer: nn.Linear
    features: Tensor
    logits: Tensor
    targets: Tensor


def last_layer_of(plain: nn.Module, samples: Samples, memory_limit: int | None) -> LastLayer:
    """Run the network once over the data and keep what its last linear layer saw.

    Args:
        plain: A plain copy of the network.
        samples: The data, with class indices as targets.
        memory_limit: Bytes the features may take; what is available when None.

    Returns:
        The layer with float64 features.

    Raises:
        CurvatureError: If the outputs are not those of a linear layer that is used once, its weights are tied, the
            targets are not classes, or there is not enough memory.
        DataError: If the data are empty or do not fit the network.
    """
    recorder = _Recorder(plain, samples, memory_limit)
    with recorder:
        evaluate(plain, samples, {"loss": recorder.keep})
    assert recorder.name is not None  # evaluate refuses data without a sample
    layer = plain.get_submodule(recorder.name)
    assert isinstance(layer, nn.Linear)
    _check_own_weights(plain, recorder.name, layer)
    return LastLayer(
        name=recorder.name,
        layer=layer,
        features=torch.cat(recorder.features),
        logits=torch.cat(recorder.logits),
        targets=torch.cat(recorder.targets),
    )


class _Recorder:
    """Hooks on all linear layers; after each batch, the one whose output the network returned is kept."""

    def __init__(self, plain: nn.Module, samples: Samples, memory_limit: int | None) -> None:
        self.plain, self.samples, self.memory_limit = plain, samples, memory_limit
        self.loss = MeanLoss(nn.CrossEntropyLoss())
        self.linear = {name: module for name, module in plain.named_modules() if isinstance(module, nn.Linear)}
        self.calls: list[tuple[str, Tensor, Tensor]] = []
        self.name: str | None = None
        self.features: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "_Recorder":
        for name, module in self.linear.items():
            self.hooks.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _hook(self, name: str):
        return lambda module, inputs, output: self.calls.append((name, inputs[0].detach(), output.detach()))

    def keep(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Keep what the last layer saw of one batch; the batch's losses."""
        if outputs.ndim != 2 or targets.is_floating_point():
            raise CurvatureError(
                f"the outputs have shape {tuple(outputs.shape)} and the targets type {targets.dtype}; the shortcut "
                "needs (n, classes) and class indices: use hessian(...)"
            )
        losses = self.loss.checked(outputs, targets)
        name, features = self._source(outputs)
        if self.name is None:
            self._check_fits(features, outputs)
        self.name = name
        self.features.append(features.to("cpu", torch.float64))
        self.logits.append(outputs.to(torch.float64))
        self.targets.append(targets)
        self.calls.clear()
        return losses

    def _source(self, outputs: Tensor) -> tuple[str, Tensor]:
        name, features, given = self.calls[-1] if self.calls else ("", outputs, outputs)
        if not self.calls or given.shape != outputs.shape or not torch.equal(given.to(outputs.device), outputs):
            what = f"those of its last linear layer {name}" if name else "of a linear layer: it has none"
            raise CurvatureError(
                f"the outputs of {type(self.plain).__name__} are not {what}; use hessian(..., layers=...)"
            )
        if sum(call[0] == name for call in self.calls) > 1:
            raise CurvatureError(f"{name} is used more than once in a forward pass; use hessian(..., layers={name!r})")
        return name, features

    def _check_fits(self, features: Tensor, outputs: Tensor) -> None:
        count = self._count()
        # Features, probabilities and logits, and the products and temporaries of a matrix as wide as the logits.
        needed = 8 * count * (features.shape[1] + 1 + 5 * outputs.shape[1])
        check_memory(
            f"the features of {count:,} samples × {features.shape[1]:,} for the last layer",
            needed,
            self.memory_limit,
            "cpu",
            "take fewer samples, or hessian(..., layers=...) which streams them",
        )

    def _count(self) -> int:
        return sum(len(inputs) for inputs, _ in self.samples.read())


def _check_own_weights(plain: nn.Module, name: str, layer: nn.Linear) -> None:
    users = [other for other, p in plain.named_parameters(remove_duplicate=False) if p is layer.weight]
    if users != [f"{name}.weight"]:
        raise CurvatureError(
            f"{name}.weight is tied to {', '.join(u for u in users if u != f'{name}.weight')}, so that its features "
            f"depend on it; use hessian(..., layers={name!r})"
        )


def check_name(found: str, asked: str | None, plain: nn.Module) -> None:
    """Check that the last layer is the one that was asked for.

    Args:
        found: Name of the last linear layer.
        asked: Name asked for; None for whichever it is.
        plain: The network, for the names in the message.

    Raises:
        CurvatureError: If it is another.
    """
    if asked is not None and asked != found:
        layers = [name for name, _ in plain.named_parameters()]
        raise CurvatureError(f"the last linear layer is {found}, not {asked!r}; {nearest((asked,), layers)}")
