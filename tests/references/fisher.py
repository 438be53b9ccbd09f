"""Fisher information from the gradients of single samples, every class weighted by its probability; float64, slow."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev


def class_gradients(model: nn.Module, name: str, one: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the classes for one input, and the gradient of each log-probability in one weight."""
    weight = dict(model.named_parameters())[name].detach()

    def log_probabilities(value: Tensor) -> Tensor:
        return torch.log_softmax(functional_call(model, {name: value}, (one[None],))[0], dim=0)

    return log_probabilities(weight).exp().detach(), jacrev(log_probabilities)(weight).detach()


def dense_fisher(model: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """Mean over inputs and expectation over classes of ggᵀ, g the gradient of log p(class|input) in the flat weight."""
    total = torch.zeros(())
    for one in inputs:
        probabilities, gradients = class_gradients(model, name, one)
        flat = gradients.flatten(1)
        total = total + flat.T @ (probabilities[:, None] * flat) / len(inputs)
    return total
