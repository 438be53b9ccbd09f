"""Image data sets in folders: Tiny-ImageNet's official layout, and a folder for each class."""

from collections.abc import Iterator
from pathlib import Path

from shrinkscope.errors import DataError
from shrinkscope.experiments.data.sources import EncodedSource, file_source

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"))

Sources = tuple[EncodedSource, EncodedSource, tuple[str, ...]]


def is_tiny_imagenet(root: Path) -> bool:
    """Whether a folder has Tiny-ImageNet's official layout.

    Args:
        root: The folder.
    """
    return (root / "wnids.txt").is_file() and (root / "val" / "val_annotations.txt").is_file()


def read_tiny_imagenet(root: Path) -> Sources:
    """Training and validation images of Tiny-ImageNet; the test images have no labels.

    Args:
        root: A folder for which ``is_tiny_imagenet`` holds.

    Returns:
        Training images, validation images, and the WordNet ids of the classes in the order of wnids.txt.

    Raises:
        DataError: If a class has no images, or val_annotations.txt names files or classes that are not there.
    """
    wnids = tuple((root / "wnids.txt").read_text(encoding="utf-8").split())
    files, targets = [], []
    for target, wnid in enumerate(wnids):
        # The official archive has an images/ in each class; some copies have not.
        official = root / "train" / wnid / "images"
        folder = official if official.is_dir() else root / "train" / wnid
        found = _images(folder)
        if not found:
            raise DataError(f"{folder} holds no images; expected those of class {wnid}, which wnids.txt names")
        files += found
        targets += [target] * len(found)
    return file_source(files, targets, root), _validation(root, wnids), wnids


def _validation(root: Path, wnids: tuple[str, ...]) -> EncodedSource:
    path = root / "val" / "val_annotations.txt"
    known = {wnid: target for target, wnid in enumerate(wnids)}
    files, targets = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in known:
            raise DataError(f"{path}, line {number}: class {wnid or line!r} is not in wnids.txt")
        file = root / "val" / "images" / name
        if not file.is_file():
            raise DataError(f"{path}, line {number}: {file} is missing; unpack the data again")
        files.append(file)
        targets.append(known[wnid])
    if not files:
        raise DataError(f"{path} is empty; expected a line for each validation image")
    return file_source(files, targets, root)


def held_out_folder(root: Path) -> Path | None:
    """The folder of held-out images beside ``train``: val, or else test.

    Args:
        root: The data set's folder.
    """
    return next((root / name for name in ("val", "test") if any(_classes(root / name))), None)


def is_image_folder(root: Path) -> bool:
    """Whether a folder has classes as folders in train/ and in val/ or test/.

    Args:
        root: The folder.
    """
    return any(_classes(root / "train")) and held_out_folder(root) is not None


def read_image_folder(root: Path) -> Sources:
    """Images in a folder for each class.

    Args:
        root: A folder for which ``is_image_folder`` holds.

    Returns:
        Training images, held-out images, and the names of the classes, sorted.

    Raises:
        DataError: If the held-out images have other classes than the training images.
    """
    classes = tuple(folder.name for folder in _classes(root / "train"))
    held_out = held_out_folder(root)
    assert held_out is not None
    other = sorted({folder.name for folder in _classes(held_out)} - set(classes))
    if other:
        raise DataError(
            f"{held_out} has {len(other)} classes that {root / 'train'} has not ({', '.join(other[:3])}); "
            f"expected the {len(classes)} classes of train"
        )
    return _by_class(root / "train", classes, root), _by_class(held_out, classes, root), classes


def _by_class(folder: Path, classes: tuple[str, ...], root: Path) -> EncodedSource:
    found = [(file, target) for target, name in enumerate(classes) for file in _images(folder / name)]
    return file_source([file for file, _ in found], [target for _, target in found], root)


def _classes(folder: Path) -> Iterator[Path]:
    """Sub-folders that hold images, themselves or further down."""
    if folder.is_dir():
        yield from (entry for entry in sorted(folder.iterdir()) if entry.is_dir() and any(_files(entry)))


def _images(folder: Path) -> list[Path]:
    return sorted(_files(folder))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
