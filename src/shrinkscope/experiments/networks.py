"""The networks of a study: built from a seed, written to and read from safetensors files."""

import os

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments.architectures import architecture
from shrinkscope.experiments.pretrained import load_pretrained
from shrinkscope.weights import save_tensors


def new_network(name: str, seed: int, classes: int | None = None) -> nn.Module:
    """A network with the initialisation that a seed draws; the global generators stay as they are.

    Args:
        name: Name of the network, as for ``architecture``.
        seed: Seed of the initialisation.
        classes: Number of classes of the last layer; None: as the network has it.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: If there is no such network.
    """
    # Layers draw their initial weights from the global generator and take no other; so it is lent and put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return architecture(name, classes).eval()


def starting_network(
    name: str, seed: int, classes: int | None = None, *, weights: str | None = None, keep_head: bool = True
) -> nn.Module:
    """A network as its training begins: initialised by the seed, and then filled with weights where there are any.

    Args:
        name: Name of the network, as for ``architecture``.
        seed: Seed of the initialisation.
        classes: Number of classes of the last layer; None: as the network has it.
        weights: As for ``load_pretrained``; None leaves the initialisation.
        keep_head: Whether the last layer comes from the weights, too.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: If there is no such network, or the weights cannot be had or do not fit.
    """
    model = new_network(name, seed, classes)
    if weights is not None:
        load_pretrained(model, name, weights, keep_head=keep_head)
    return model


def save_network(path: str | os.PathLike[str], model: nn.Module, description: str) -> None:
    """Write all tensors of a plain network, buffers included, to a .safetensors file, all or nothing.

    Args:
        path: The file.
        model: The network.
        description: What it is; kept in the file's metadata.

    Raises:
        OutputError: If the file cannot be written.
    """
    save_tensors(path, model.state_dict(), {"description": description})


def load_network_file(path: str | os.PathLike[str], name: str, classes: int | None = None) -> nn.Module:
    """Read a network that ``save_network`` wrote.

    Args:
        path: The file.
        name: Name of the network, as for ``architecture``.
        classes: Number of classes of its last layer; None: as the network has it.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: If the file is missing, damaged or of another network.
    """
    model = new_network(name, 0, classes)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read {path}: {error}; delete the folder and run the study again") from error
    except RuntimeError as error:
        raise WeightsError(f"{path} holds another network than {name}: {' '.join(str(error).split())}") from error
    return model
