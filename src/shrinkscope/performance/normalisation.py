"""How well inputs fit the statistics that batch norm layers remember of the training data."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def layers_with_statistics(model: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norm layers that remember mean and variance of what they saw in training.

    Args:
        model: The network.

    Returns:
        Name → layer, in the order of registration.
    """
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def normalise_by_batch(model: nn.Module) -> None:
    """Let batch norm layers normalise by the batch that passes, and remember what they did before.

    Args:
        model: The network; changed in place. Batches of one value a channel fail.
    """
    for layer in layers_with_statistics(model).values():
        layer.train()
        layer.momentum = 0.0  # of the new statistics in what is remembered


@contextmanager
def mismatches(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, at every forward pass, how far each batch norm layer's input is from what the layer remembers.

    The mismatch of a layer is the mean over its channels of KL(N(μ, s²)‖N(m, v)) in nats, μ and s² of the batch, m and
    v remembered; differentiable in the inputs. Networks run in evaluation mode, so that nothing is remembered anew.

    Args:
        model: The network; its hooks are gone afterwards.

    Yields:
        A list that gets one scalar for each call of a layer; empty it between passes.
    """
    found: list[Tensor] = []

    def watch(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        found.append(_mismatch(layer, arguments[0]))

    handles = [layer.register_forward_pre_hook(watch) for layer in layers_with_statistics(model).values()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _mismatch(layer: _BatchNorm, inputs: Tensor) -> Tensor:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    values = inputs.transpose(0, 1).flatten(1)
    # eps on both sides: a channel that is always zero matches a remembered variance of zero.
    variance, remembered = values.var(dim=1, correction=0) + layer.eps, layer.running_var + layer.eps
    ratio = variance / remembered
    shift = (values.mean(dim=1) - layer.running_mean).square() / remembered
    return (ratio - 1 - ratio.log() + shift).mean() / 2
