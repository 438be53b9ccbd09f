"""Weights to start from: files, torchvision's by name, and transformers' by name or folder."""

import hashlib
from pathlib import Path

from torch import Tensor, nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments.architectures import (
    TORCHVISION,
    TRANSFORMERS,
    first_line,
    head_of,
    torchvision_models,
    transformers_module,
)
from shrinkscope.weights import open_weights

_PUBLISHED = "pretrained"
_COUNTERS = "num_batches_tracked"


def load_pretrained(model: nn.Module, network: str, weights: str, *, keep_head: bool) -> None:
    """Put weights into a network, in place.

    Args:
        model: The network, with the last layer that it is to have.
        network: Its name.
        weights: A file; or a name that torchvision has for it; or for transformers ``pretrained`` (its published
            weights), or a folder with config.json and model.safetensors.
        keep_head: Whether the last layer is taken from the weights, too; otherwise it stays as it is.

    Raises:
        WeightsError: If they cannot be read or fetched, or belong to another architecture or other classes.
    """
    head = head_of(model)
    found = _tensors(network, weights)
    if not keep_head:
        found = {name: tensor for name, tensor in found.items() if name.rpartition(".")[0] != head}
    own = model.state_dict()
    expected = {name for name in own if not name.endswith(_COUNTERS) and (keep_head or name.rpartition(".")[0] != head)}
    _require_fit(own, expected, found, head, f"{weights} holds weights of another architecture than {network}")
    model.load_state_dict(found, strict=False)


def weights_digest(weights: str) -> str:
    """What tells weights apart: the digest of a file, 32 hexadecimal digits, or the name of published ones.

    Args:
        weights: As for ``load_pretrained``.

    Raises:
        WeightsError: If a file is not there or cannot be read.
    """
    path = Path(weights)
    if not path.exists():
        if path.suffix:
            raise WeightsError(f"{weights}: no such file; give --weights FILE, or the folder that holds it")
        return weights
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        try:
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise WeightsError(f"cannot read {file}: {error.strerror or error}") from error
    return digest.hexdigest()


def _tensors(network: str, weights: str) -> dict[str, Tensor]:
    path = Path(weights)
    if network.startswith(TRANSFORMERS):
        # The library renames what its files hold; it does so for the folder that a file lies in.
        place = path.parent if path.is_file() else path
        return _of_transformers(network.removeprefix(TRANSFORMERS) if weights == _PUBLISHED else str(place))
    if path.exists() or path.suffix or not network.startswith(TORCHVISION):
        return {name: view.read() for name, view in open_weights(path).items()}
    return _of_torchvision(network.removeprefix(TORCHVISION), weights)


def _of_torchvision(network: str, weights: str) -> dict[str, Tensor]:
    known = torchvision_models().get_model_weights(network)
    if weights not in known.__members__:
        raise WeightsError(
            f"torchvision has no weights {weights!r} of {network}, and there is no such file; it has "
            f"{', '.join(known.__members__)}"
        )
    try:
        # weights_only: nothing in the file is run.
        return known[weights].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"cannot download {weights} of {network}: {first_line(error)}; without a connection give --weights FILE"
        ) from error


def _of_transformers(source: str) -> dict[str, Tensor]:
    library = transformers_module()
    try:
        model, report = library.AutoModelForImageClassification.from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"cannot load {source}: {first_line(error)}; without a connection give --weights and the folder of its "
            "config.json and model.safetensors"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(f"{source} lacks {len(missing)} tensors of its own network, such as {missing[0]}")
    return {f"network.{name}": tensor for name, tensor in model.state_dict().items()}


def _require_fit(own: dict[str, Tensor], expected: set[str], found: dict[str, Tensor], head: str, wrong: str) -> None:
    for name in own:
        if name in expected and name in found and own[name].shape != found[name].shape:
            if name.rpartition(".")[0] == head:
                raise WeightsError(
                    f"{name} has {len(found[name])} classes in the weights and {len(own[name])} in the data; "
                    "head = 'new' replaces the last layer"
                )
            shapes = f"{tuple(found[name].shape)}, expected {tuple(own[name].shape)}"
            raise WeightsError(f"{wrong}: {name} has shape {shapes}")
    missing = [name for name in own if name in expected and name not in found]
    strange = [name for name in found if name not in own]
    if missing or strange:
        said = [f"{names[0]} {what}" for names, what in ((missing, "is missing"), (strange, "is unknown")) if names]
        raise WeightsError(
            f"{wrong}: {len(expected) - len(missing)} of {len(expected)} tensors are there; {' and '.join(said)}"
        )
