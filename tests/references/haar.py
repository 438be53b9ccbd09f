"""Draws from the exact law that a uniformly distributed (Haar) rotation gives to one vector and to two."""

import numpy as np


def squared_directions(dim: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """u² for u uniform on the sphere, shape (draws, dim): what a rotation makes of the coordinates of a unit vector."""
    squares = generator.standard_normal((draws, dim)) ** 2
    return squares / squares.sum(1, keepdims=True)


def log_ratios(inverse: np.ndarray, cosine: float, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Logarithm of the ratio of the forms of two vectors of length 1 with the cosine given, under one rotation."""
    first, second = generator.standard_normal((2, draws, inverse.size))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second -= (first * second).sum(1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    other = cosine * first + np.sqrt(1 - cosine**2) * second
    return np.log(first**2 @ inverse) - np.log(other**2 @ inverse)
