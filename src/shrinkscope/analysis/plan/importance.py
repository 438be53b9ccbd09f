"""|w| times the norm of what it is multiplied with."""

from collections.abc import Mapping

from torch import Tensor, nn

from shrinkscope.curvature import input_moments
from shrinkscope.latent.precision import KroneckerPrecision, PermutedPrecision, Precision


def importances(model: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    """|w| √(E Σ x²) of every weight, x being its input at each position.

    Args:
        model: The network.
        weights: Layer → weight.
        inputs: Unlabelled inputs.

    Returns:
        Layer → float64, of the weight's shape; |w| alone of a layer whose input was not seen.

    Source: Sun et al. (2024), "A simple and effective pruning approach for large language models" (Wanda), eq. 1.
    """
    found = input_moments(model, inputs, structure="diagonal", layers=list(weights)).precisions(diagonal=True)
    magnitudes = {name: weight.detach().to("cpu").double().abs() for name, weight in weights.items()}
    return {
        name: values * diagonal_of(found[name], values.shape).sqrt() if name in found else values
        for name, values in magnitudes.items()
    }


def diagonal_of(precision: Precision, shape: tuple[int, ...]) -> Tensor:
    """The diagonal of the precision of a layer's input, one entry a weight.

    Args:
        precision: As ``InputMoments.precisions`` returns it.
        shape: Shape of the weight.
    """
    if isinstance(precision, PermutedPrecision):
        permuted = tuple(precision.shape[d] for d in precision.order)
        values = diagonal_of(precision.precision, permuted)
        back = sorted(range(len(precision.order)), key=lambda d: precision.order[d])
        return values.permute(back).reshape(shape)
    assert isinstance(precision, KroneckerPrecision)
    rows = precision.right.diagonal(dim1=-2, dim2=-1).flatten(1)  # (groups, columns)
    return rows[:, None, :].expand(-1, precision.outputs, -1).reshape(shape)
