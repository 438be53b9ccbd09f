"""Checkpoint files: every format, every way in which a file can be bad."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize, prune

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 0.0])}


class RunsCode:
    """An object whose unpickling would create a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, path)
    elif suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    else:
        torch.save(TENSORS, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".npz"])
def test_every_format_gives_the_same_tensors(tmp_path, suffix):
    weights = open_weights(write(tmp_path, suffix))
    assert set(weights) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(weights[name].read(), tensor)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_wrapped_state_dict_is_found(tmp_path, wrapper):
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3, wrapper: TENSORS}, path)
    assert set(open_weights(path)) == set(TENSORS)


def test_a_file_saved_while_pruned_shows_plain_names(tmp_path):
    layer = nn.Linear(4, 3)
    prune.random_unstructured(layer, "weight", amount=0.5)
    torch.save(layer.state_dict(), tmp_path / "pruned.pt")
    weights = open_weights(tmp_path / "pruned.pt")
    assert set(weights) == {"weight", "bias"}
    layer(torch.zeros(1, 4))
    assert torch.equal(weights["weight"].read(), layer.weight)


def test_a_file_saved_while_parametrised_by_something_else_says_what_to_do(tmp_path):
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", nn.Softplus())
    torch.save(layer.state_dict(), tmp_path / "softplus.pt")
    with pytest.raises(
        WeightsError, match=r"weight is parametrised by original, and only masks.*pass the module itself"
    ):
        open_weights(tmp_path / "softplus.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.95])
def test_a_truncated_file_is_a_one_line_error(tmp_path, suffix, kept):
    path = write(tmp_path, suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError, match="is it truncated") as error:
        open_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_a_file_of_noise_is_a_one_line_error(tmp_path, suffix):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(WeightsError) as error:
        open_weights(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pickle_that_wants_to_run_code_is_refused_and_runs_nothing(tmp_path):
    witness = tmp_path / "witness"
    torch.save({"a": torch.zeros(1), "b": RunsCode(witness)}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="would run code"):
        open_weights(tmp_path / "evil.pt")
    assert not witness.exists()


def test_an_npz_of_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(WeightsError, match="pickled objects"):
        open_weights(tmp_path / "objects.npz")


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        open_weights(tmp_path / "nothing.pt")
    with pytest.raises(WeightsError, match="is a directory without weights"):
        open_weights(tmp_path)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"unknown format \(\.onnx\); expected one of \.bin, \.gguf, \.npz"):
        open_weights(path)


def test_a_file_that_holds_no_state_dict_says_what_it_holds(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(WeightsError, match="holds a Tensor; expected a state dict"):
        open_weights(tmp_path / "tensor.pt")
    torch.save({"epoch": 3}, tmp_path / "counter.pt")
    with pytest.raises(WeightsError, match=r"no tensors found \(entries: epoch\)"):
        open_weights(tmp_path / "counter.pt")


def test_a_zip_that_is_no_npz(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "other.npz").write_bytes(content.getvalue())
    with pytest.raises(WeightsError, match=r"other\.npz"):
        open_weights(tmp_path / "other.npz")


def test_something_else_is_refused():
    with pytest.raises(WeightsError, match="cannot take weights from a int"):
        open_weights(3)  # type: ignore[arg-type]


def test_tensors_that_share_storage_are_tied():
    shared = torch.ones(2, 2)
    weights = open_weights(
        {"a": shared, "b": shared, "view": shared[:1], "empty": torch.empty(0), "none": torch.empty(0)}
    )
    assert list(weights) == ["a", "view", "empty", "none"]
    assert weights.tied == {"b": "a"}
