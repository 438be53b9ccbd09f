"""What decides the numbers of a scan, as one text: equal texts mean equal numbers."""

from collections.abc import Sequence

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.scan.cache import SCHEMA, digest, digest_of_tensors
from shrinkscope.analysis.scan.passes import Passes
from shrinkscope.analysis.scan.yardstick import Samples
from shrinkscope.errors import LatentError
from shrinkscope.latent import Latent
from shrinkscope.performance import Reading
from shrinkscope.version import version
from shrinkscope.weights import open_weights


def identity_of(
    model: nn.Module,
    samples: Samples,
    passes: Passes | None,
    reading: Reading,
    latents: Sequence[Latent | str],
    seed: int,
) -> str:
    """A hash of weights, inputs, targets, the dense outputs, how they are read, latents, seed, device and versions.

    The dense outputs stand for the network's code, which cannot be hashed: when it changes, they do.

    Args:
        model: The network.
        samples: What is put through it.
        passes: Its dense outputs; None without inputs.
        reading: How outputs are read.
        latents: Latent distributions as they were asked for: what a name gathers follows from the rest.
        seed: Of methods that draw.

    Raises:
        LatentError: If a latent cannot be described by its fields.
    """
    weights = [(name, view.read()) for name, view in open_weights(model).items()]
    batches = zip(samples.inputs, samples.targets, samples.predicted, strict=True)
    named = [(f"{use}", tensor) for x, y, use in batches for tensor in (x, y)]
    outputs = [] if passes is None else [("outputs", batch) for batch in passes.dense]
    device = next((parameter.device.type for parameter in model.parameters()), "cpu")
    about = [str(SCHEMA), version(), torch.__version__, device, str(seed), *(_exactly(latent) for latent in latents)]
    about += [f"{reading.kind} {reading.scale!r} {reading.padding}"]
    tensors = [digest_of_tensors(part) for part in (weights, named, outputs)]
    return digest([part.encode() for part in (*about, *tensors)])


def described(latent: Latent | str) -> str:
    """A latent as a JSON text, or as its repr where it has none; by name where one was asked for by its name.

    Args:
        latent: The latent.
    """
    if isinstance(latent, str):
        return latent
    return msgspec.json.encode(latent, enc_hook=repr).decode() if isinstance(latent, msgspec.Struct) else repr(latent)


def _exactly(latent: Latent | str) -> str:
    if isinstance(latent, str):
        return latent
    try:
        return msgspec.json.encode(latent).decode() if isinstance(latent, msgspec.Struct) else _unknown(latent)
    except TypeError:
        return _unknown(latent)


def _unknown(latent: Latent) -> str:
    raise LatentError(
        f"{latent.column}: a cache cannot know what this latent depends on; leave out cache=, or this latent"
    )
