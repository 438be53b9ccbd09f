"""Folders and arrays as data sets: each layout read, each wrong one named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shrinkscope.errors import DataError
from shrinkscope.experiments.data import Arrays, Cifar, ImageFolder, TinyImageNet, Transform, open_images
from shrinkscope.experiments.data.opening import download_cifar, layout_of

DATA = Path(__file__).parents[3] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the images in ../shared/data")


def picture(seed: int, side: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)


def tiny(root: Path, inner: str = "images") -> Path:
    for label, wnid in enumerate(("n02", "n01")):
        for image in range(2):
            save(root / "train" / wnid / inner / f"{wnid}_{image}.png", 10 * label + image)
    for image in range(3):
        save(root / "val" / "images" / f"val_{image}.png", 50 + image)
    (root / "wnids.txt").write_text("n02\nn01\n")
    lines = [f"val_{image}.png\t{wnid}\t0\t0\t63\t63\n" for image, wnid in enumerate(("n01", "n02", "n01"))]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def folder(root: Path, held_out: str = "val") -> Path:
    for part, images in (("train", 2), (held_out, 1)):
        for label, name in enumerate(("cat", "dog")):
            for image in range(images):
                save(root / part / name / f"{image}.png", 10 * label + image)
    return root


def inputs_of(part):
    return np.concatenate([inputs.numpy() for inputs, _ in part])


def expected(seeds):
    transform = Transform()
    pixels = np.stack([np.asarray(picture(seed)) for seed in seeds]).transpose(0, 3, 1, 2) / 255
    shape = (1, 3, 1, 1)
    return (pixels - np.reshape(transform.mean, shape)) / np.reshape(transform.deviation, shape)


@pytest.mark.parametrize("inner", ["images", "."])
@pytest.mark.parametrize("outer", [".", "tiny-imagenet-200"])
def test_tiny_imagenet_is_read_in_the_order_of_its_lists(tmp_path, inner, outer):
    tiny(tmp_path / outer, inner)
    data = open_images(TinyImageNet(root=str(tmp_path)))
    assert data.classes == ("n02", "n01")
    assert data.train.targets.tolist() == [0, 0, 1, 1]
    assert data.test.targets.tolist() == [1, 0, 1]
    np.testing.assert_allclose(inputs_of(data.train), expected([0, 1, 10, 11]), atol=1e-5)  # float32 rounding
    np.testing.assert_allclose(inputs_of(data.test), expected([50, 51, 52]), atol=1e-5)


def test_tiny_imagenets_lists_must_fit_its_files(tmp_path):
    root = tiny(tmp_path)
    annotations = root / "val" / "val_annotations.txt"
    good = annotations.read_text()
    annotations.write_text(good + "val_9.png\tn01\n")
    with pytest.raises(DataError, match=r"val_annotations.txt, line 4: .*val_9.png is missing"):
        open_images(TinyImageNet(root=str(root)))
    annotations.write_text("val_0.png\tn77\n")
    with pytest.raises(DataError, match=r"line 1: class 'n77' is not in wnids.txt"):
        open_images(TinyImageNet(root=str(root)))
    annotations.write_text("")
    with pytest.raises(DataError, match=r"val_annotations.txt is empty"):
        open_images(TinyImageNet(root=str(root)))
    (root / "wnids.txt").write_text("n02\nn03\n")
    with pytest.raises(DataError, match=r"n03 holds no images; expected those of class n03"):
        open_images(TinyImageNet(root=str(root)))


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_an_image_folder_is_read_by_class(tmp_path, held_out):
    data = open_images(ImageFolder(root=str(folder(tmp_path, held_out))))
    assert data.classes == ("cat", "dog")
    assert (data.train.targets.tolist(), data.test.targets.tolist()) == ([0, 0, 1, 1], [0, 1])
    np.testing.assert_allclose(inputs_of(data.train), expected([0, 1, 10, 11]), atol=1e-5)


def test_held_out_classes_must_be_known(tmp_path):
    root = folder(tmp_path)
    save(root / "val" / "mouse" / "0.png", 5)
    with pytest.raises(DataError, match=r"val has 1 classes that .*train has not \(mouse\); expected the 2 classes"):
        open_images(ImageFolder(root=str(root)))


def test_a_truncated_image_is_named(tmp_path):
    root = folder(tmp_path)
    path = root / "train" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:100])
    data = open_images(ImageFolder(root=str(root)))
    with pytest.raises(DataError, match=r"dog/0.png is damaged \(.*\); is it truncated"):
        list(data.train)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"dog/0.png is damaged \(not an image\)"):
        list(open_images(ImageFolder(root=str(root))).train)


def jpegs(seeds) -> tuple[np.ndarray, np.ndarray]:
    streams = []
    for seed in seeds:
        buffer = io.BytesIO()
        picture(seed).save(buffer, "JPEG")
        streams.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, streams)])
    return np.frombuffer(b"".join(streams), np.uint8), offsets


def test_pixels_in_arrays_are_read_either_way_round(tmp_path):
    pixels = np.stack([np.asarray(picture(seed)) for seed in (1, 2, 3)])
    both = {"y_train": np.array([0, 2, 1]), "y_test": np.array([1])}
    np.savez(tmp_path / "last.npz", x_train=pixels, x_test=pixels[:1], **both)
    np.savez(tmp_path / "first.npz", x=pixels.transpose(0, 3, 1, 2), y=both["y_train"])
    np.savez(tmp_path / "grey.npz", x=pixels[..., 0], y=both["y_train"])
    last = open_images(Arrays(root=str(tmp_path), train="last.npz"))
    first = open_images(Arrays(root=str(tmp_path), train="first.npz", test="grey.npz"))
    for data in (last, first):
        np.testing.assert_allclose(inputs_of(data.train), expected([1, 2, 3]), atol=1e-5)
        assert data.classes == ("0", "1", "2")
    assert last.train.digest == first.train.digest
    assert inputs_of(first.test).shape == (3, 3, 8, 8)


def test_jpeg_streams_are_decoded_as_the_files_would_be(tmp_path):
    stream, offsets = jpegs([1, 2])
    names = np.array(["a", "b", "c"])
    np.savez(tmp_path / "a.npz", jpeg=stream, offset=offsets, y=np.array([2, 0]), wnids=names)
    data = open_images(Arrays(root=str(tmp_path), train="a.npz", test="a.npz"))
    decoded = np.asarray(Image.open(io.BytesIO(stream[: offsets[1]].tobytes())))
    pixels = inputs_of(data.train)[0].transpose(1, 2, 0) * np.array(Transform().deviation) + np.array(Transform().mean)
    np.testing.assert_allclose(pixels * 255, decoded, atol=1e-3)  # bytes through float32 and back
    assert data.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds nothing; expected images of train"),
        ({"x": np.zeros((2, 3), np.uint8), "y": np.zeros(2, int)}, r"holds pixels of type uint8 and shape \(2, 3\)"),
        ({"x": np.zeros((2, 3, 4, 4)), "y": np.zeros(2, int)}, r"holds pixels of type float64"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.zeros(3, int)}, r"2 images and labels of type int64 and shape"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.zeros(2)}, r"labels of type float64"),
        ({"jpeg": np.zeros(9, np.uint8), "offset": np.array([0, 5]), "y": np.zeros(1, int)}, "offsets do not divide"),
        ({"x": np.zeros((1, 4, 4), np.uint8), "y": np.array([3]), "wnids": np.array(["a"])}, "labels up to 3, but 1 n"),
    ],
)
def test_wrong_arrays_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_images(Arrays(root=str(tmp_path), train="a.npz", test="a.npz"))


def test_parts_of_other_classes_and_unreadable_files_are_one_line(tmp_path):
    pixels, labels = np.zeros((1, 4, 4), np.uint8), np.array([0])
    np.savez(tmp_path / "a.npz", x=pixels, y=labels, wnids=np.array(["a", "b"]))
    np.savez(tmp_path / "b.npz", x=pixels, y=labels, wnids=np.array(["b", "a"]))
    with pytest.raises(DataError, match="have other classes, or the same in another order"):
        open_images(Arrays(root=str(tmp_path), train="a.npz", test="b.npz"))
    with pytest.raises(DataError, match=r"c.npz: no such file"):
        open_images(Arrays(root=str(tmp_path), train="c.npz"))
    (tmp_path / "d.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"d.npz: not a readable .npz file .*is it truncated"):
        open_images(Arrays(root=str(tmp_path), train="d.npz"))


def test_images_of_several_sizes_need_a_size(tmp_path):
    root = folder(tmp_path)
    picture(1, side=9).save(root / "train" / "cat" / "0.png")
    with pytest.raises(DataError, match="the images differ in size; give transform.size"):
        list(open_images(ImageFolder(root=str(root))).train)
    sized = open_images(ImageFolder(root=str(root), transform=Transform(size=8)))
    assert inputs_of(sized.train).shape == (4, 3, 8, 8)


def test_a_wrong_layout_is_answered_with_the_one_found_and_the_one_expected(tmp_path):
    tiny(tmp_path / "tiny")
    folder(tmp_path / "folder")
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "a.npz", x=np.zeros(1))
    (tmp_path / "other").mkdir()
    found = {
        "tiny": r"Tiny-ImageNet in its official layout \(kind = 'tiny_imagenet'\)",
        "folder": r"a folder for each class in train and val or test \(kind = 'image_folder'\)",
        "arrays": r".npz files such as a.npz \(kind = 'arrays', train = NAME\)",
        "other": "nothing",
    }
    for name, words in found.items():
        with pytest.raises(DataError, match=rf"{name} holds {words}; expected images of CIFAR10 in an official layout"):
            open_images(Cifar(root=str(tmp_path / name)))
    with pytest.raises(DataError, match="expected images of Tiny-ImageNet in the official layout"):
        open_images(TinyImageNet(root=str(tmp_path / "folder")))
    with pytest.raises(DataError, match="expected images in an ImageFolder"):
        open_images(ImageFolder(root=str(tmp_path / "other")))
    with pytest.raises(DataError, match="no such folder; expected images of CIFAR100 .*: train and test"):
        open_images(Cifar(classes=100, root=str(tmp_path / "none")))
    with pytest.raises(DataError, match=r"no folder of data is given; give --data DIR that holds images of CIFAR10 in"):
        open_images(Cifar())
    with pytest.raises(DataError, match=r"holds no folder but a file"):
        open_images(ImageFolder(root=str(tmp_path / "arrays" / "a.npz")))
    assert layout_of(tmp_path) == "arrays, folder, other, tiny"


def test_without_a_connection_a_download_is_one_line(tmp_path, monkeypatch):
    import torchvision.datasets.utils

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", unreachable)
    with pytest.raises(DataError, match=r"cannot download CIFAR100 to .*: Name or service not known; without a conn"):
        download_cifar(tmp_path, 100)
    with pytest.raises(DataError, match="cannot download CIFAR10 to"):
        open_images(Cifar(root=str(tmp_path), download=True))


def test_a_subset_is_always_the_same_and_known_by_its_digest(tmp_path):
    folder(tmp_path)
    whole = open_images(ImageFolder(root=str(tmp_path)))
    some = open_images(ImageFolder(root=str(tmp_path), train_samples=3, test_samples=99))
    again = whole.train.subset(3)
    assert len(some.train) == 3
    assert len(some.test) == 2
    assert some.train.digest == again.digest != whole.train.digest
    assert some.digest != whole.digest
    rows = inputs_of(whole.train).tolist()
    assert all(row in rows for row in inputs_of(again).tolist())


@needs_data
def test_the_shared_images_are_read_as_they_are():
    jpeg = open_images(Arrays(root=str(DATA), train="cifar10_jpeg_60000.npz"))
    assert (len(jpeg.train), len(jpeg.test), len(jpeg.classes)) == (50_000, 10_000, 10)
    assert jpeg.train.targets.bincount().tolist() == [5000] * 10
    original = open_images(Arrays(root=str(DATA), train="cifar10_lossless_4566.npz"))
    assert (len(original.train), len(original.test)) == (3805, 761)
    # The first test image in both: lossy and lossless differ by a few grey levels on average.
    lossy, lossless = (next(iter(data.test.in_batches(1)))[0] * 0.226 * 255 for data in (jpeg, original))
    assert lossy.shape == (1, 3, 32, 32)
    assert float((lossy - lossless).abs().mean()) < 8
    assert jpeg.test.targets[:761].tolist() == original.test.targets.tolist()
    tiny_data = open_images(
        Arrays(root=str(DATA), train="tiny_imagenet_train_000-099.npz", test="tiny_imagenet_val_10000.npz")
    )
    assert (len(tiny_data.train), len(tiny_data.test), len(tiny_data.classes)) == (20_000, 10_000, 200)
