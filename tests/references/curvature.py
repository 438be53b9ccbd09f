"""Matrices of second derivatives written out entry by entry: dense, float64, slow, and obviously right."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap


def hessian(function):
    """All second derivatives by reverse mode twice; torch.func.hessian uses forward mode, as what is tested does."""
    return jacrev(jacrev(function))


def flat_parameters(model: nn.Module, names: list[str]) -> Tensor:
    values = dict(model.named_parameters())
    return torch.cat([values[name].detach().reshape(-1) for name in names])


def _named(model: nn.Module, names: list[str], flat: Tensor) -> dict[str, Tensor]:
    values = dict(model.named_parameters())
    pieces = flat.split([values[name].numel() for name in names])
    return {name: piece.reshape(values[name].shape) for name, piece in zip(names, pieces, strict=True)}


def dense_hessian(model: nn.Module, loss, inputs: Tensor, targets: Tensor, names: list[str]) -> Tensor:
    """Second derivatives of the loss all samples at once."""

    def of(flat: Tensor) -> Tensor:
        return loss(functional_call(model, _named(model, names, flat), (inputs,)), targets)

    return hessian(of)(flat_parameters(model, names)).detach()


def dense_gauss_newton(model: nn.Module, loss, inputs: Tensor, targets: Tensor, names: list[str]) -> Tensor:
    """Mean over samples of JᵀLJ with the Jacobian J and the Hessian L of the sample's loss in its outputs."""
    flat = flat_parameters(model, names)
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for one, target in zip(inputs, targets, strict=True):
        outputs = functional_call(model, _named(model, names, flat), (one[None],))[0]
        jacobian = jacrev(lambda at, x=one: functional_call(model, _named(model, names, at), (x[None],))[0])(flat)
        bend = hessian(lambda z, y=target: loss(z[None], y[None]))(outputs)
        total += jacobian.T @ bend @ jacobian
    return total.detach() / len(inputs)


def dense_gradients(model: nn.Module, loss, inputs: Tensor, targets: Tensor, names: list[str]) -> Tensor:
    """Gradient of each sample's loss, shape (samples, weights)."""
    flat = flat_parameters(model, names)

    def of(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(model, _named(model, names, at), (x[None],)), y[None])

    return vmap(jacrev(of), in_dims=(None, 0, 0))(flat, inputs, targets).detach()


def softmax_hessian(logits: Tensor, features: Tensor) -> Tensor:
    """Mean of (diag p − ppᵀ) ⊗ hhᵀ by Kronecker products, weights of shape (classes, features) row by row."""
    total = torch.zeros(logits.shape[1] * features.shape[1], logits.shape[1] * features.shape[1], dtype=torch.float64)
    for z, h in zip(logits, features, strict=True):
        p = torch.softmax(z, dim=0)
        total += torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(h, h))
    return total / len(logits)
