"""A path of networks whose batch norms moved their statistics, as a path of weights alone at one set of statistics."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrinkscope.errors import CurvatureError
from shrinkscope.weights import open_weights

State = dict[str, Tensor]


def tensors_of_function(model: nn.Module) -> list[str]:
    """Names of all tensors that the outputs in evaluation mode depend on: parameters and statistics.

    Args:
        model: A network, plain or with its mask held.

    Returns:
        Their plain names, tied ones once, in the order of the network.
    """
    return [name for name, view in open_weights(model).items() if view.dtype.is_floating_point]


class FixedStatistics(Sequence[State]):
    """The states of a path, each as parameters that compute the same function at the dense network's statistics.

    A batch norm in evaluation mode maps x to γ(x − μ)/√(v + ε) + β. With the dense network's μ*, v* it computes the
    same for γ' = γ√((v* + ε)/(v + ε)) and β' = β + γ(μ* − μ)/√(v + ε). So a difference of loss is one of parameters
    alone, along which a gradient and a Hessian in the parameters have a meaning.

    Args:
        dense: The dense network, plain.
        path: States that hold every tensor of ``tensors_of_function``.

    Raises:
        CurvatureError: If statistics moved that no scale and shift can make up for.

    Source: derived here; tests/experiments/test_fixed_statistics.py compares the outputs.
    """

    def __init__(self, dense: nn.Module, path: Sequence[State]) -> None:
        self._path = path
        self._statistics = {name: buffer for name, buffer in dense.named_buffers() if buffer.is_floating_point()}
        self._norms = {
            f"{name}." if name else "": module
            for name, module in dense.named_modules()
            if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats
        }
        self.names = tuple(name for name, _ in dense.named_parameters())
        owned = {prefix + own for prefix in self._norms for own in ("running_mean", "running_var")}
        for state in path:
            for name in self._statistics.keys() & state.keys() - owned:
                if not torch.equal(state[name], self._statistics[name]):
                    raise CurvatureError(f"{name} moved in training and is no parameter: its effect has no gradient")

    def __len__(self) -> int:
        return len(self._path)

    def __getitem__(self, index: int) -> State:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The parameters of one time by name; negative indices count from the last."""
        return self._at_fixed(self._path[index])

    def __iter__(self) -> Iterator[State]:
        return map(self._at_fixed, self._path)

    def _at_fixed(self, state: State) -> State:
        moved = {name: state[name] for name in self.names}
        for prefix, module in self._norms.items():
            scale, shift = state[prefix + "weight"].double(), state[prefix + "bias"].double()
            mean, deviation = (state[prefix + "running_mean"].double(), _deviation(state, prefix, module.eps))
            own_mean = self._statistics[prefix + "running_mean"].double()
            own_deviation = _deviation(self._statistics, prefix, module.eps)
            like = state[prefix + "weight"]
            moved[prefix + "weight"] = (scale * own_deviation / deviation).to(like)
            moved[prefix + "bias"] = (shift + scale * (own_mean - mean) / deviation).to(like)
        return moved


def _deviation(state: State, prefix: str, eps: float) -> Tensor:
    return (state[prefix + "running_var"].double() + eps).sqrt()
