"""Fisher information from the gradients of single samples, every label weighted by its probability; float64, slow."""

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


def output_jacobian(model: nn.Module, name: str, one: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs for one input, and their Jacobian in one flat weight, shape (…, weights)."""
    weight = dict(model.named_parameters())[name].detach()

    def outputs(value: Tensor) -> Tensor:
        return functional_call(model, {name: value}, (one[None],))[0]

    return outputs(weight).detach(), jacrev(outputs)(weight).detach().flatten(-weight.ndim)


def dense_token_fisher(model: nn.Module, name: str, inputs: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean over sequences, and over the positions of each that count, of E ggᵀ over the tokens at that position."""
    total = torch.zeros(())
    for number, one in enumerate(inputs):
        scores, jacobian = output_jacobian(model, name, one)
        positions = range(len(scores)) if counts is None else counts[number].nonzero()[:, 0].tolist()
        for position in positions:
            probabilities = torch.softmax(scores[position], dim=0)
            for token, probability in enumerate(probabilities):
                score = -probabilities.clone()
                score[token] += 1.0
                gradient = score @ jacobian[position]
                total = total + probability * torch.outer(gradient, gradient) / (len(positions) * len(inputs))
    return total


def dense_gaussian_fisher(model: nn.Module, name: str, inputs: Tensor, scale: float) -> Tensor:
    """Mean over inputs of JᵀJ/s², the Fisher information of N(f(x), s²I)."""
    total = torch.zeros(())
    for one in inputs:
        jacobian = output_jacobian(model, name, one)[1]
        flat = jacobian.reshape(-1, jacobian.shape[-1])
        total = total + flat.T @ flat / (scale**2 * len(inputs))
    return total
