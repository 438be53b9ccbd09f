"""Σ⁻¹ = the exact Gauss-Newton matrix of each layer, which is never formed: only its quadratic form is computed."""

import torch
from torch import Tensor, nn

from shrinkscope.curvature.hessian import gauss_newton
from shrinkscope.curvature.network import NetworkCurvature
from shrinkscope.errors import CurvatureError, LatentError
from shrinkscope.latent import Precision, Precisions
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.weights import LayersLike, open_weights


class GaussNewtonPrecision(Precision):
    """E_x JᵀHJ of one weight, J the Jacobian of the logits in it and H = diag p − ppᵀ: the Fisher information.

    Args:
        curvature: The Gauss-Newton matrix of one weight.
    """

    def __init__(self, curvature: NetworkCurvature) -> None:
        self.curvature = curvature

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.curvature.dimension

    def quadratic(self, x: Tensor) -> float:
        """Mean over inputs of the variance under p of the logits' change Jx, by a Jacobian-vector product.

        Raises:
            LatentError: If torch lacks a derivative.
        """
        try:
            return float(self.curvature.along(x[None]).mean())
        except CurvatureError as error:
            raise LatentError(str(error)) from error

    def trace(self) -> float:
        """Unknown.

        Raises:
            LatentError: Always.
        """
        raise LatentError("the trace of the exact Gauss-Newton matrix is not known; set damping=0, or use K-FAC")

    def rank(self) -> int:
        """Unknown.

        Raises:
            LatentError: Always.
        """
        raise LatentError("the rank of the exact Gauss-Newton matrix is not known; use K-FAC")


def gauss_newton_precisions(
    model: nn.Module,
    inputs: Inputs,
    *,
    layers: LayersLike = None,
    batch_size: int = 256,
    memory_limit: int | None = None,
) -> Precisions:
    """The exact Gauss-Newton matrix of a classifier's cross-entropy for each parameter, from unlabelled inputs.

    Its Gaussian AP3 is ½ΔᵀGΔ: the second-order KL divergence of the predictions, without the approximations of the
    diagonal and of K-FAC. Nothing is gathered; every comparison of a layer passes over the inputs in forward mode. It
    takes any parameter, biases and normalisations too. There is no Student-t over it, because its rank is not known.

    Args:
        model: The network, which returns logits of shape (inputs, classes); a copy of it is kept.
        inputs: As for ``input_moments``; kept in memory, because they are read again for each layer.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a pass.
        memory_limit: Bytes that a pass may take; what is available when None.

    Returns:
        Precisions named ``gauss_newton``.

    Raises:
        CurvatureError: If weights or outputs are not finite, or there is not enough memory.
        DataError: If the inputs do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Schraudolph (2002). ∂²ℓ/∂z² of the cross-entropy does not depend on the label, so that any will do.
    """
    kept = torch.cat([*input_batches(inputs, batch_size)])
    data = (kept, torch.zeros(len(kept), dtype=torch.int64))
    whole = gauss_newton(model, data, layers=layers, batch_size=batch_size, memory_limit=memory_limit)
    found: dict[str, Precision] = {name: GaussNewtonPrecision(_of_one(whole, name)) for name in whole.parameters}
    for alias, name in open_weights(whole.plain).tied.items():
        if name in found:
            found[alias] = found[name]
    return Precisions("gauss_newton", found, {}, f"exact Gauss-Newton matrices of {len(kept):,} inputs")


def _of_one(whole: NetworkCurvature, name: str) -> NetworkCurvature:
    return NetworkCurvature(
        "Gauss-Newton matrix",
        whole.plain,
        {name: whole.parameters[name]},
        whole.loss,
        whole.data,
        whole.samples,
        whole.activations,
        whole.memory_limit,
    )
