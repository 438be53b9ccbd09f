"""CIFAR's official layouts, written here byte by byte, and what is refused."""

import os
import pickle

import numpy as np
import pytest

from shrinkscope.errors import DataError
from shrinkscope.experiments.data import Cifar, Transform, open_images

RAW = Transform(mean=(0.0, 0.0, 0.0), deviation=(1 / 255, 1 / 255, 1 / 255))  # inputs are the bytes


def some(count: int, classes: int, seed: int) -> tuple[np.ndarray, list[int]]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 3072), dtype=np.uint8), draw.integers(0, classes, count).tolist()


def python_batches(folder, classes=10, protocol=2):
    folder.mkdir(parents=True)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"] if classes == 10 else ["train", "test"]
    for seed, name in enumerate(names):
        pixels, labels = some(4, classes, seed)
        key = b"labels" if classes == 10 else b"fine_labels"
        content = {b"batch_label": name.encode(), key: labels, b"data": pixels, b"filenames": [b"a.png"] * 4}
        if classes == 100:
            content[b"coarse_labels"] = [0] * 4
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))


def binary_batches(folder, classes=10):
    folder.mkdir(parents=True)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"] if classes == 10 else ["train", "test"]
    for seed, name in enumerate(names):
        pixels, labels = some(4, classes, seed)
        before = [] if classes == 10 else [7]
        records = [bytes([*before, label]) + row.tobytes() for row, label in zip(pixels, labels, strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))


def check(root, classes):
    data = open_images(Cifar(root=str(root), classes=classes, transform=RAW))
    batches = range(5) if classes == 10 else range(1)
    pixels, labels = zip(*(some(4, classes, seed) for seed in batches), strict=True)
    inputs, targets = next(iter(data.train))
    # Rows of 3072 are the red, green and blue planes of 32 × 32. Bytes divided by 255 and back: to float32 rounding.
    np.testing.assert_allclose(inputs.numpy(), np.concatenate(pixels).reshape(-1, 3, 32, 32), atol=1e-4)
    assert targets.tolist() == data.train.targets.tolist() == np.concatenate(labels).tolist()
    assert data.test.targets.tolist() == some(4, classes, 5 if classes == 10 else 1)[1]
    assert len(data.classes) == classes


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("inner", ["", "archive"])
@pytest.mark.parametrize("write", [python_batches, binary_batches])
def test_official_layouts_are_read_as_written(tmp_path, classes, inner, write):
    archives = {10: ("cifar-10-batches-py", "cifar-10-batches-bin"), 100: ("cifar-100-python", "cifar-100-binary")}
    name = archives[classes][write is binary_batches]
    write(tmp_path / "data" / (name if inner else ""), classes)
    check(tmp_path / "data", classes)


def test_both_layouts_have_one_digest_and_names_are_read(tmp_path):
    python_batches(tmp_path / "a")
    binary_batches(tmp_path / "b")
    (tmp_path / "b" / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    one, other = (open_images(Cifar(root=str(tmp_path / name))) for name in "ab")
    assert one.digest == other.digest
    assert other.classes == tuple("abcdefghij")


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_code_in_a_batch_is_named_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python_batches(tmp_path / "data")
    (tmp_path / "data" / "data_batch_2").write_bytes(pickle.dumps({b"data": Code()}))
    with pytest.raises(DataError, match=r"data_batch_2: reading it would run posix.system, which shrinkscope never"):
        open_images(Cifar(root=str(tmp_path / "data")))
    assert not (tmp_path / "ran").exists()


def test_a_type_smuggled_in_as_an_array_is_refused(tmp_path):
    python_batches(tmp_path / "data")
    content = pickle.dumps({b"data": np.zeros((4, 3072), np.uint8)}, protocol=2)
    assert content.count(b"cnumpy\nndarray\n") == 1
    (tmp_path / "data" / "data_batch_1").write_bytes(content.replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"))
    with pytest.raises(DataError, match=r"data_batch_1: reading it would run an array of type"):
        open_images(Cifar(root=str(tmp_path / "data")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80", "not a readable batch of CIFAR .*is it truncated"),
        (pickle.dumps([1]), "holds no pixels"),
        (pickle.dumps({b"data": np.zeros((4, 3), np.uint8)}, protocol=2), "holds no pixels; expected b'data', uint8"),
        (pickle.dumps({b"data": np.zeros((4, 3072), np.uint8)}, protocol=2), "expected b'labels' with 4 labels"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, protocol=2), "holds the class 10; ex"),
    ],
)
def test_a_damaged_batch_is_one_line(tmp_path, content, message):
    python_batches(tmp_path / "data")
    (tmp_path / "data" / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_images(Cifar(root=str(tmp_path / "data")))


def test_a_truncated_or_missing_binary_batch_is_one_line(tmp_path):
    binary_batches(tmp_path / "data")
    path = tmp_path / "data" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"12,291 bytes are no whole number of records of 3073; is it truncated"):
        open_images(Cifar(root=str(tmp_path / "data")))
    path.unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing; expected CIFAR10's data_batch_1, .* test_batch"):
        open_images(Cifar(root=str(tmp_path / "data")))
