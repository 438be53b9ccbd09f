"""Σ⁻¹ = the exact Gauss-Newton matrix of each layer, which is never formed: only its quadratic form is computed."""

import torch
from torch import Tensor, nn

from shrinkscope.curvature.attention import unfused
from shrinkscope.curvature.hessian import gauss_newton
from shrinkscope.curvature.likelihood import check_logits, check_positions, checked_scale, position_shares
from shrinkscope.curvature.network import NetworkCurvature
from shrinkscope.curvature.prediction_losses import GaussianLoss, TokenCrossEntropy
from shrinkscope.curvature.snapshot import plain_copy
from shrinkscope.errors import CurvatureError, LatentError
from shrinkscope.latent import Precision, Precisions
from shrinkscope.performance.data import Batch, Inputs, input_batches
from shrinkscope.performance.forward import forward
from shrinkscope.performance.metrics import NO_TARGET
from shrinkscope.performance.outputs import Outputs, scores_of
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.weights import LayersLike, open_weights

_INPUTS_A_BATCH = 256


class GaussNewtonPrecision(Precision):
    """E_x JᵀHJ of one weight, J the Jacobian of the outputs in it: the Fisher information of the prediction.

    H is diag p − ppᵀ for classes, its mean over positions for tokens, and I/s² for a regression.

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
        """Mean over inputs of (Jx)ᵀH(Jx), by a Jacobian-vector product.

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
    kind: Kind | None = None,
    scale: float | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    layers: LayersLike = None,
    batch_size: int | None = None,
    memory_limit: int | None = None,
) -> Precisions:
    """The exact Gauss-Newton matrix of a prediction's loss for each parameter, from unlabelled inputs.

    Its Gaussian AP3 is ½ΔᵀGΔ: the second-order KL divergence of the predictions (for tokens, in nats per token),
    without the approximations of the diagonal and of K-FAC. Nothing is gathered; every comparison of a layer passes
    over the inputs in forward mode. It takes any parameter, biases and normalisations too. There is no Student-t over
    it, because its rank is not known.

    Args:
        model: The network; a copy of it is kept.
        inputs: As for ``input_moments``; kept in memory, because they are read again for each layer.
        kind: As for ``fisher_diagonal``, and so the next three.
        scale: Of a regression.
        padding: Token id.
        outputs: Finds the scores.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a pass; None takes 256, or as many sequences as make 2,048 tokens.
        memory_limit: Bytes that a pass may take; what is available when None.

    Returns:
        Precisions named ``gauss_newton``.

    Raises:
        CurvatureError: If weights or outputs are not finite, or there is not enough memory.
        DataError: If the inputs or the options do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Schraudolph (2002). ∂²ℓ/∂z² of the cross-entropy and of the squared error does not depend on the label, so
        that any will do.
    """
    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs).checked()
    size = reading.inputs_a_batch(inputs, _INPUTS_A_BATCH) if batch_size is None else batch_size
    plain = plain_copy(model)
    # What a network returns besides its scores is left behind here: curvature is that of one tensor.
    plain.register_forward_hook(lambda _, __, returned: scores_of("the network", returned, outputs))
    data, loss = _with_targets(plain, [*input_batches(inputs, size)], reading)
    whole = gauss_newton(plain, data, loss, layers=layers, batch_size=size, memory_limit=memory_limit)
    found: dict[str, Precision] = {name: GaussNewtonPrecision(_of_one(whole, name)) for name in whole.parameters}
    for alias, name in open_weights(whole.plain).tied.items():
        if name in found:
            found[alias] = found[name]
    return Precisions("gauss_newton", found, {}, f"exact Gauss-Newton matrices of {whole.samples:,} inputs")


def _with_targets(plain: nn.Module, inputs: list[Tensor], reading: Reading) -> tuple[list[Batch], nn.Module]:
    """Batches with a label that the network itself gives, and the loss."""
    kind: Kind | None = None
    data: list[Batch] = []
    with unfused(), torch.no_grad():
        for batch in inputs:
            scores, counts = forward("the network", plain, batch), reading.counts(batch)
            kind = reading.kind_of(scores) if kind is None else kind
            check_positions(kind, counts)
            data.append((batch, _targets(scores, kind, counts)))
    if kind == "regression":
        return data, GaussianLoss(checked_scale(reading.scale))
    return data, TokenCrossEntropy() if kind == "tokens" else nn.CrossEntropyLoss()


def _targets(scores: Tensor, kind: Kind, counts: Tensor | None) -> Tensor:
    if kind == "regression":
        return scores
    check_logits(scores, kind)
    labels = scores.argmax(dim=-1)  # never one that is excluded, whose loss would be infinite
    if kind == "classes":
        return labels
    return labels.masked_fill(position_shares(scores, kind, counts).to(labels.device) == 0, NO_TARGET)


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
