"""From what a study says about its images to the images: finding the layout, or saying which was found."""

from pathlib import Path

from shrinkscope.errors import DataError
from shrinkscope.experiments.data.arrays import read_arrays
from shrinkscope.experiments.data.cifar import cifar_folder, class_names, read_cifar
from shrinkscope.experiments.data.folders import (
    is_image_folder,
    is_tiny_imagenet,
    read_image_folder,
    read_tiny_imagenet,
)
from shrinkscope.experiments.data.parts import ImageData, Part
from shrinkscope.experiments.data.settings import Arrays, Cifar, ImageFolder, Images, TinyImageNet
from shrinkscope.experiments.data.sources import Source

_TINY = "tiny-imagenet-200"


def open_images(settings: Images, device: str = "cpu") -> ImageData:
    """The images of a study; files are listed or mapped now, and decoded when they are used.

    Args:
        settings: The data set, with its ``root``.
        device: Where inputs go.

    Returns:
        The data.

    Raises:
        DataError: If nothing is there, or another layout: the message says which was found and which was expected.
    """
    if settings.root is None:
        raise DataError(f"no folder of data is given; give --data DIR that holds {_described(settings)}")
    root = Path(settings.root)
    if isinstance(settings, Cifar) and settings.download and cifar_folder(root, settings.classes) is None:
        download_cifar(root, settings.classes)
    if not root.exists():
        raise DataError(f"{root}: no such folder; expected {_described(settings)}")
    train, test, classes = _sources(settings, root)
    transform = settings.transform
    return ImageData(
        train=Part(train, transform, device=device).subset(settings.train_samples),
        test=Part(test, transform, device=device).subset(settings.test_samples),
        classes=classes,
    )


def download_cifar(root: Path, classes: int) -> None:
    """Fetch an official archive with torchvision, check its MD5, and unpack it; nothing in it is run.

    Args:
        root: Where to.
        classes: 10 or 100.

    Raises:
        DataError: If there is no connection, the archive is damaged, or torchvision is not installed.
    """
    try:
        from torchvision.datasets import CIFAR10, CIFAR100
        from torchvision.datasets.utils import download_and_extract_archive
    except (ImportError, RuntimeError) as error:
        raise DataError(f"a download needs torchvision, which cannot be imported ({error}); install it") from error
    source = CIFAR10 if classes == 10 else CIFAR100
    try:
        download_and_extract_archive(source.url, str(root), filename=source.filename, md5=source.tgz_md5)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"cannot download CIFAR{classes} to {root}: {error}; without a connection, unpack the official archive "
            "elsewhere and give --data DIR"
        ) from error


def _sources(settings: Images, root: Path) -> tuple[Source, Source, tuple[str, ...]]:
    if isinstance(settings, Cifar):
        folder = cifar_folder(root, settings.classes)
        if folder is not None:
            return *read_cifar(folder, settings.classes), class_names(folder, settings.classes)
    elif isinstance(settings, TinyImageNet):
        for folder in (root, root / _TINY):
            if is_tiny_imagenet(folder):
                return read_tiny_imagenet(folder)
    elif isinstance(settings, ImageFolder):
        if is_image_folder(root):
            return read_image_folder(root)
    elif isinstance(settings, Arrays):
        return read_arrays(root / settings.train, root / settings.test if settings.test else None)
    raise DataError(f"{root} holds {layout_of(root)}; expected {_described(settings)}")


def layout_of(root: Path) -> str:
    """What a folder seems to hold, in words.

    Args:
        root: The folder.
    """
    if root.is_file():
        return "no folder but a file"
    for classes in (10, 100):
        if cifar_folder(root, classes) is not None:
            return f"CIFAR{classes} in an official layout (kind = 'cifar', classes = {classes})"
    for folder in (root, root / _TINY):
        if is_tiny_imagenet(folder):
            return "Tiny-ImageNet in its official layout (kind = 'tiny_imagenet')"
    if is_image_folder(root):
        return "a folder for each class in train and val or test (kind = 'image_folder')"
    if any(root.glob("*.npz")):
        names = ", ".join(sorted(path.name for path in root.glob("*.npz"))[:3])
        return f".npz files such as {names} (kind = 'arrays', train = NAME)"
    listed = sorted(entry.name for entry in root.iterdir())
    return ", ".join(listed[:5]) + (" …" if len(listed) > 5 else "") if listed else "nothing"


def _described(settings: Images) -> str:
    if isinstance(settings, Cifar):
        files = "data_batch_1 … test_batch" if settings.classes == 10 else "train and test"
        return f"images of CIFAR{settings.classes} in an official layout: {files}, as Python batches or .bin"
    if isinstance(settings, TinyImageNet):
        return "images of Tiny-ImageNet in the official layout: wnids.txt, train/<wnid>/images, val/val_annotations.txt"
    if isinstance(settings, Arrays):
        return f"images in {settings.train}{f' and {settings.test}' if settings.test else ''}"
    return "images in an ImageFolder: a folder for each class in train and in val or test"
