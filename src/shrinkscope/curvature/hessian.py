"""Making the curvature of a network: what goes in is checked in one pass over the data."""

from torch import Tensor, nn

from shrinkscope.curvature.loss import MeanLoss
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.network import Kind, NetworkCurvature
from shrinkscope.curvature.samples import Samples, samples_of
from shrinkscope.curvature.snapshot import chosen_parameters, plain_copy
from shrinkscope.performance import evaluate
from shrinkscope.performance.data import Data
from shrinkscope.weights import LayersLike


def hessian(
    model: nn.Module,
    data: Data,
    loss: nn.Module | None = None,
    *,
    layers: LayersLike = None,
    batch_size: int = 256,
    memory_limit: int | None = None,
) -> NetworkCurvature:
    """The Hessian of the mean loss over the data, in evaluation mode at the present weights, as products.

    Args:
        model: The network; a copy of it is kept, so that later training does not change the Hessian. Masks and
            parametrisations are folded into the weights.
        data: (inputs, targets) tensors, or an iterable of batches that can be read many times and gives the same
            samples each time. Read a batch at a time for every product.
        loss: A torch loss module with ``reduction="mean"``; cross-entropy in nats when None.
        layers: Names of layers or parameters, globs, or a LayerSelection; all parameters when None.
        batch_size: Samples a batch when ``data`` are tensors; smaller takes less memory.
        memory_limit: Bytes that computations may take; what is available when None.

    Returns:
        The Hessian.

    Raises:
        CurvatureError: If weights or losses are not finite, the loss has no second derivatives or is not a mean over
            samples, the data cannot be read twice, or the memory does not suffice.
        DataError: If the data are empty or do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Dangel et al., curvlinops (2025), for the products; Pearlmutter (1994) for their principle.
    """
    return _network_curvature("Hessian", model, data, loss, layers, batch_size, memory_limit)


def gauss_newton(
    model: nn.Module,
    data: Data,
    loss: nn.Module | None = None,
    *,
    layers: LayersLike = None,
    batch_size: int = 256,
    memory_limit: int | None = None,
) -> NetworkCurvature:
    """The Gauss-Newton matrix E[Jᵀ (∂²ℓ/∂z²) J], the Hessian without the curvature of the network itself.

    It is positive semidefinite for a loss that is convex in the outputs, and the Fisher matrix for cross-entropy.

    Args:
        model: As for ``hessian``.
        data: As for ``hessian``.
        loss: As for ``hessian``.
        layers: As for ``hessian``.
        batch_size: As for ``hessian``.
        memory_limit: As for ``hessian``.

    Returns:
        The Gauss-Newton matrix.

    Raises:
        CurvatureError: As for ``hessian``.

    Source: Schraudolph (2002); products by curvlinops.
    """
    return _network_curvature("Gauss-Newton matrix", model, data, loss, layers, batch_size, memory_limit)


def _network_curvature(
    kind: Kind,
    model: nn.Module,
    data: Data,
    loss: nn.Module | None,
    layers: LayersLike,
    batch_size: int,
    memory_limit: int | None,
) -> NetworkCurvature:
    mean_loss = MeanLoss(nn.CrossEntropyLoss() if loss is None else loss)
    plain = plain_copy(model)
    parameters = chosen_parameters(plain, layers)
    first = next(iter(parameters.values()))
    samples = samples_of(data, batch_size, first.device, first.dtype)
    count, activations = _survey(plain, samples, mean_loss)
    curvature = NetworkCurvature(kind, plain, parameters, mean_loss, samples, count, activations, memory_limit)
    check_memory(
        f"a product with {curvature.description}",
        curvature.workspace,
        memory_limit,
        curvature.device,
        "take smaller batches, or one layer instead of the network",
    )
    return curvature


def _survey(plain: nn.Module, samples: Samples, loss: MeanLoss) -> tuple[int, int]:
    """Run the network once over the data: check outputs and losses, count samples, measure activations.

    Args:
        plain: A plain copy.
        samples: The data.
        loss: The loss.

    Returns:
        Number of samples, and bytes of the activations of the batch with most of them.

    Raises:
        CurvatureError: If a loss is not finite, not a mean over samples, or without second derivatives.
        DataError: If the data do not fit the network.
    """
    sizes: list[int] = [0]
    untried = [True]

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        if untried:
            untried.clear()
            loss.check_twice_differentiable(outputs, targets)
        return loss.checked(outputs, targets)

    def add(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and next(module.children(), None) is None:
            sizes[-1] += output.numel() * output.element_size()

    hooks = [module.register_forward_hook(add) for module in plain.modules()]
    try:
        evaluation = evaluate(plain, samples, {"loss": losses}, progress=lambda _: sizes.append(0))
    finally:
        for hook in hooks:
            hook.remove()
    return evaluation.samples, max(sizes)
