"""|w| times the norm of what it is multiplied with."""

from collections.abc import Mapping

from torch import Tensor, nn

from shrinkscope.curvature import input_moments


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
        name: values * found[name].diagonal().view(values.shape).sqrt() if name in found else values
        for name, values in magnitudes.items()
    }
