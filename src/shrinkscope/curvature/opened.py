"""A network taken apart so far that the input of every weight can be seen."""

from torch import nn

from shrinkscope.curvature.attention import open_attention
from shrinkscope.curvature.convolution import open_convolutions
from shrinkscope.curvature.snapshot import plain_copy


def opened_copy(model: nn.Module) -> nn.Module:
    """A plain copy of a network, attention and convolutions with a forward of their own opened.

    Args:
        model: The network; it is not changed.

    Raises:
        CurvatureError: If its weights are not finite.
    """
    return open_convolutions(open_attention(plain_copy(model)))
