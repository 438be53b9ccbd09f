"""Some of a study's training samples, drawn once: to measure on, or to compare predictions on."""

import msgspec
import torch
from torch import Tensor

from shrinkscope.experiments.data import ImageData
from shrinkscope.experiments.digits import Split


def fewer(data: Split | ImageData, samples: int | None) -> Split | ImageData:
    """The data with at most as many training samples, all held-out ones kept.

    Args:
        data: The data.
        samples: How many; None is all.

    Returns:
        The data; a smaller choice is no part of a larger one.
    """
    if samples is None:
        return data
    if isinstance(data, ImageData):
        return msgspec.structs.replace(data, train=data.train.subset(samples))
    drawn = drawn_rows(len(data.y_train), samples).to(data.y_train.device)
    return data._replace(x_train=data.x_train[drawn], y_train=data.y_train[drawn])


def drawn_rows(count: int, samples: int) -> Tensor:
    """Numbers of the samples that ``fewer`` keeps, in the order of the data.

    Args:
        count: Number of samples.
        samples: How many to keep.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:samples].sort().values
