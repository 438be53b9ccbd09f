"""Mask: validation, counts, files."""

import copy
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from shrinkscope.compression import Mask, load_mask, save_mask
from shrinkscope.compression.mask import keep
from shrinkscope.errors import CompressionError, OutputError

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    names = draw(st.lists(st.text("abc.0", min_size=1, max_size=6), min_size=1, max_size=4, unique=True))
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(draw(shapes), generator=generator) < 0.5 for name in names})


def test_counts() -> None:
    mask = Mask({"a": torch.tensor([True, False, False]), "b": torch.ones(2, 2), "empty": torch.ones(0, 3)})
    assert (mask.size(), mask.kept(), mask.removed()) == (7, 5, 2)
    assert (mask.size("a"), mask.kept("a"), mask.removed("a")) == (3, 1, 2)
    assert mask.sparsity == 2 / 7
    assert mask.sparsity_of("b") == 0.0
    assert math.isnan(mask.sparsity_of("empty"))
    assert math.isnan(Mask({}).sparsity)
    assert repr(mask) == "Mask(3 layers, 2 of 7 weights removed)"


@given(mask=masks())
def test_counts_agree_with_numpy(mask: Mask) -> None:
    arrays = [kept.numpy() for kept in mask.values()]
    assert mask.kept() == sum(int(np.count_nonzero(array)) for array in arrays)
    assert mask.size() == sum(array.size for array in arrays)
    assert mask.kept() + mask.removed() == mask.size()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_zeros_and_ones_of_any_type(dtype: torch.dtype) -> None:
    mask = Mask({"a": torch.tensor([[1, 0], [0, 1]]).to(dtype)})
    assert mask["a"].dtype == torch.bool
    assert mask["a"].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (math.nan, "nan"), (-1.0, "-1.0"), (1 + 2**-52, "1.0000")])
def test_other_values_are_named(value: float, shown: str) -> None:
    entries = torch.tensor([0.0, 1.0, value], dtype=torch.float64)
    with pytest.raises(CompressionError, match=rf"the mask of fc\.weight holds {shown}.*\(1 such entries of 3\)"):
        Mask({"ok": torch.ones(2), "fc.weight": entries})


@pytest.mark.parametrize("entry", [{"fc": [1, 0]}, {3: torch.ones(2)}, {"fc": np.ones(2)}])
def test_entries_must_be_named_tensors(entry) -> None:
    with pytest.raises(CompressionError, match=r"mask entry .* expected the name of a layer and a tensor"):
        Mask(entry)


def test_a_mask_is_frozen() -> None:
    source = torch.tensor([True, False])
    mask = Mask({"a": source})
    source[:] = False
    mask["a"][:] = False
    assert mask["a"].tolist() == [True, False]
    with pytest.raises(TypeError, match="does not support item assignment"):
        mask["a"] = source  # type: ignore[index]
    with pytest.raises(AttributeError):
        mask.extra = 1  # type: ignore[attr-defined]


def test_equality() -> None:
    kept = {"a": torch.tensor([True, False]), "b": torch.ones(1, 2)}
    assert Mask(kept) == Mask(dict(reversed(kept.items())))
    assert Mask(kept) == copy.deepcopy(Mask(kept))
    assert Mask(kept) != Mask({"a": kept["a"]})
    assert Mask(kept) != Mask({**kept, "b": torch.ones(2, 1)})
    assert Mask(kept) != Mask({**kept, "a": ~kept["a"]})
    assert Mask(kept) != kept
    with pytest.raises(TypeError, match="unhashable"):
        hash(Mask(kept))


def test_an_unknown_layer() -> None:
    mask = Mask({"a": torch.ones(2)})
    for ask in (mask.__getitem__, mask.removed, mask.kept, mask.size, mask.sparsity_of):
        with pytest.raises(KeyError, match="no layer 'b' in this mask; its layers are a"):
            ask("b")
    assert mask.get("b") is None


def test_applying_to_weights() -> None:
    weights = {"a": torch.tensor([-1.0, math.nan, math.inf, 4.0]), "b": torch.ones(2)}
    new = Mask({"a": torch.tensor([False, False, False, True])}).applied_to(weights)
    assert new["a"].tolist() == [0.0, 0.0, 0.0, 4.0]
    # Plus zero even where the weight was negative.
    assert not torch.signbit(new["a"]).any()
    assert new["b"] is weights["b"]
    assert weights["a"][0] == -1.0


def test_applying_to_weights_of_another_network() -> None:
    with pytest.raises(CompressionError, match=r"the mask is for a, which is not there; the layers are b, c"):
        Mask({"a": torch.ones(2)}).applied_to({"b": torch.ones(2), "c": torch.ones(2)})
    with pytest.raises(CompressionError, match=r"the mask of a has shape \(2,\), the weight \(1, 2\)"):
        Mask({"a": torch.ones(2)}).applied_to({"a": torch.ones(1, 2)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keep_keeps_the_type_and_blocks_the_gradient(dtype: torch.dtype) -> None:
    weight = torch.tensor([-1.0, 2.0], dtype=dtype, requires_grad=True)
    acting = keep(weight, torch.tensor([False, True]))
    acting.sum().backward()
    assert acting.dtype == dtype
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 1.0]


@given(mask=masks())
def test_a_saved_mask_comes_back(mask: Mask, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("mask") / "mask.safetensors"
    save_mask(mask, path)
    assert load_mask(path) == mask


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mask.safetensors"
    save_mask(Mask({"a": torch.tensor([True, False])}), path)
    assert {name: tensor.tolist() for name, tensor in load_file(path).items()} == {"a": [True, False]}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("keep_bytes", [0, 5, 60, -1])
def test_a_truncated_file(tmp_path: Path, keep_bytes: int) -> None:
    path = tmp_path / "mask.safetensors"
    save_mask(Mask({"a": torch.ones(40)}), path)
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(
        CompressionError, match=rf"cannot read a mask from {re.escape(str(path))}: .*expected a file"
    ) as e:
        load_mask(path)
    assert "\n" not in str(e.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CompressionError, match="cannot read a mask from"):
            load_mask(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "shrinkscope mask", "version": "2"}])
def test_a_foreign_file(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata=metadata)
    with pytest.raises(CompressionError, match=r"weights\.safetensors is no mask: its header says format"):
        load_mask(path)


def test_a_mask_file_with_other_values(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    save_file({"a": torch.tensor([0.3])}, path, metadata={"format": "shrinkscope mask", "version": "1"})
    with pytest.raises(CompressionError, match=r"the mask of a holds 0\.3"):
        load_mask(path)


_FILL_THE_DISK = """
import resource, sys, torch
from shrinkscope.compression import Mask, save_mask
from shrinkscope.errors import OutputError
mask = Mask({"a": torch.ones(100_000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_mask(mask, sys.argv[1])
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="file size limits are a POSIX feature")
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    old = Mask({"a": torch.zeros(3)})
    save_mask(old, path)
    # A limit on the size of files stands in for a full disk, in a process of its own since it cannot be lifted.
    run = subprocess.run([sys.executable, "-c", _FILL_THE_DISK, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"cannot write {path}")
    assert run.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]
    assert load_mask(path) == old


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_mask(Mask({"a": torch.ones(2)}), tmp_path / "file" / "mask.safetensors")
