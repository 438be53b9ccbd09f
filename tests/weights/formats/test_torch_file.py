"""PyTorch's files: windows of the numbers where they lie, whatever their strides."""

import pickle
import zipfile

import pytest
import torch

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights
from shrinkscope.weights.formats.span import FileSpan

BASE = torch.arange(120.0).reshape(10, 12)
TENSORS = {
    "plain": BASE,
    "transposed": BASE.t(),
    "part": BASE[2:5, 3:7],
    "column": BASE[:, 4],
    "turned": torch.arange(60, dtype=torch.bfloat16).reshape(3, 4, 5).permute(2, 0, 1),
    "expanded": torch.arange(3.0)[:, None].expand(3, 4),
    "scalar": torch.tensor(7),
    "empty": torch.empty(0, 3),
    "flag": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "fp8": torch.ones(4).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_of_every_layout(tmp_path, zipped):
    # The legacy format is older than 8-bit floats.
    tensors = {name: tensor for name, tensor in TENSORS.items() if zipped or name != "fp8"}
    torch.save(tensors, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    weights = open_weights(tmp_path / "x.pt")
    assert set(weights) == set(tensors)
    for name, tensor in tensors.items():
        view, expected = weights[name], tensor.detach().reshape(-1)
        assert (view.shape, view.dtype) == (tuple(tensor.shape), tensor.dtype)
        assert torch.equal(view.read(), tensor.detach())
        assert torch.equal(torch.cat([expected[:0], *view.chunks(7)]), expected)
        assert (view.window is not None) == zipped


def test_views_of_a_zip_file_are_places_in_it_and_travel_to_other_processes(tmp_path):
    torch.save({"w": BASE, "same": BASE, "model": 3}, tmp_path / "x.pt")
    weights = open_weights(tmp_path / "x.pt")
    assert weights.tied == {"same": "w"}
    assert isinstance(weights["w"].window.__self__, FileSpan)  # type: ignore[union-attr]
    assert torch.equal(pickle.loads(pickle.dumps(weights["w"])).piece(5, 9), BASE.reshape(-1)[5:9])


def test_a_tensor_that_repeats_a_few_numbers_absurdly_often(tmp_path):
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"w repeats 1 numbers to the shape \[1099511627776\]"):
        open_weights(tmp_path / "x.pt")
    torch.save({"w": torch.ones(1).expand(1 << 58)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="absurd shape"):
        open_weights(tmp_path / "x.pt")


def test_names_that_are_no_text(tmp_path):
    torch.save({3: torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="a tensor is called 3; expected text"):
        open_weights(tmp_path / "x.pt")


def test_masked_tensors_in_windows(tmp_path):
    original, mask = torch.randn(6, 7), torch.rand(6, 7) < 0.5
    torch.save({"fc.weight_orig": original, "fc.weight_mask": mask.float()}, tmp_path / "x.pt")
    view = open_weights(tmp_path / "x.pt")["fc.weight"]
    assert view.window is not None
    assert torch.equal(torch.cat(list(view.chunks(5))), torch.where(mask, original, 0.0).reshape(-1))
    torch.save({"fc.weight_orig": original, "fc.weight_mask": mask[:2]}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"fc.weight has the shape \[6, 7\] and its mask \[2, 7\]"):
        open_weights(tmp_path / "x.pt")


def repacked(path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """The same archive written by something else than PyTorch: its records lie at other places."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, changes.get(name.rpartition("/")[2], content))


def test_an_archive_that_was_packed_again(tmp_path):
    torch.save({"w": BASE, "b": torch.ones(3)}, tmp_path / "x.pt")
    repacked(tmp_path / "x.pt", {})
    weights = open_weights(tmp_path / "x.pt")
    assert torch.equal(weights["w"].read(), BASE)
    assert torch.equal(weights["b"].read(), torch.ones(3))


def test_numbers_whose_bytes_come_in_the_other_order(tmp_path):
    torch.save({"w": torch.arange(5, dtype=torch.int32)}, tmp_path / "x.pt")
    turned = torch.arange(5, dtype=torch.int32).numpy().astype(">i4").tobytes()
    repacked(tmp_path / "x.pt", {"byteorder": b"big", "0": turned})
    assert open_weights(tmp_path / "x.pt")["w"].read().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("alignment", [b"0", b"-64", b"many", b"9" * 5000])
def test_an_alignment_that_would_end_the_process(tmp_path, alignment):
    # PyTorch 2.15 divides by it: a zero is a signal of the processor, not an exception.
    torch.save({"w": BASE}, tmp_path / "x.pt")
    repacked(tmp_path / "x.pt", {".storage_alignment": alignment})
    with pytest.raises(WeightsError, match="not a readable PyTorch file"):
        open_weights(tmp_path / "x.pt")
