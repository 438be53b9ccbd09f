"""From the matrix that a layer applies, (group, output, column), to the order in which torch stores its weight."""

from torch import Tensor

from shrinkscope.latent import PermutedPrecision, Precision


def stored(matrix: Tensor, kernel: int | None) -> Tensor:
    """Entries of a layer's matrix in the order of its weight.

    Args:
        matrix: Shape (groups, outputs, columns).
        kernel: Kernel positions of a transposed convolution, whose weight is stored as (group, input, output, kernel)
            although its columns are (input, kernel); None for every other layer, which is stored as it is applied.
    """
    return matrix if kernel is None else matrix.unflatten(2, (-1, kernel)).transpose(1, 2)


def in_stored_order(precision: Precision, groups: int, outputs: int, kernel: int | None) -> Precision:
    """Σ⁻¹ of a layer's matrix as one of its weight.

    Args:
        precision: For weights in the order (group, output, column).
        groups: Groups of outputs.
        outputs: Outputs of a group.
        kernel: As for ``stored``.
    """
    if kernel is None:
        return precision
    inputs = precision.dim // (groups * outputs * kernel)
    return PermutedPrecision(precision, shape=(groups, inputs, outputs, kernel), order=(0, 2, 1, 3))
