"""Independent streams of randomness from one seed, whatever the order in which they are asked for."""

import hashlib

import torch


def derived_seed(seed: int, *purpose: object) -> int:
    """A seed for one purpose, a non-negative 63-bit integer.

    Args:
        seed: The study's seed.
        purpose: What it is for, for example ``"order", 2``; another purpose gives an unrelated seed.

    Returns:
        The same integer on every machine.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derived_generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator on the CPU for one purpose.

    Args:
        seed: The study's seed.
        purpose: As for ``derived_seed``.

    Returns:
        A new generator.
    """
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
