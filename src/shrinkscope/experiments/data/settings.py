"""Which images a study is about, as values that a TOML file decodes into."""

from typing import Literal

import msgspec

from shrinkscope.errors import DataError

Augmentation = Literal["none", "flip", "crop", "resized_crop"]
Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Triple = (0.229, 0.224, 0.225)


class Transform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an image becomes an input.

    Attributes:
        size: Pixels a side of the inputs: training crops are scaled to it, other images to this shorter side and then
            cropped at the centre. None keeps images as they are.
        augmentation: Of training images. ``resized_crop``: a random part of 8 to 100 % of the area and of an aspect
            ratio of 3/4 to 4/3, then a flip with probability ½; ``crop``: an eighth of the side as a black margin on
            every side, a random crop of the old size, then a flip; ``flip``: the flip alone; ``none``.
        mean: Subtracted from the three channels in [0, 1]; ImageNet's by default.
        deviation: What they are divided by then.

    Raises:
        DataError: If a number is out of range, or ``resized_crop`` has no size.

    Source: protocol of the paper's released code: RandomResizedCrop(224) and a flip for training, Resize(224) for
        testing.
    """

    size: int | None = None
    augmentation: Augmentation = "none"
    mean: Triple = IMAGENET_MEAN
    deviation: Triple = IMAGENET_DEVIATION

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise DataError(f"size = {self.size}; expected at least one pixel")
        if self.augmentation == "resized_crop" and self.size is None:
            raise DataError("augmentation = 'resized_crop' needs a size to scale its crops to; give size")
        if not all(value > 0 for value in self.deviation):
            raise DataError(f"deviation = {list(self.deviation)}; expected three positive numbers")


class Images(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every image data set says.

    Attributes:
        root: Folder of the data; ``--data`` takes its place. It is no part of a run's identity: the images are, by
            their digest.
        transform: How an image becomes an input.
        train_samples: Use this many training images, drawn once for all trials; all by default.
        test_samples: Use this many held-out images; all by default.
    """

    root: str | None = None
    transform: Transform = Transform()
    train_samples: int | None = None
    test_samples: int | None = None

    def __post_init__(self) -> None:
        for name in ("train_samples", "test_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"{name} = {value}; expected at least 1")


class Cifar(Images, frozen=True, kw_only=True, tag="cifar", tag_field="kind"):
    """CIFAR10 or CIFAR100 in an official layout: the Python batches or the binary ones.

    Attributes:
        classes: 10 or 100.
        download: Fetch the data into ``root`` with torchvision if they are not there.
    """

    classes: Literal[10, 100] = 10
    download: bool = False


class TinyImageNet(Images, frozen=True, kw_only=True, tag="tiny_imagenet", tag_field="kind"):
    """Tiny-ImageNet in its official layout: wnids.txt, train/<wnid>/images, val/images and val_annotations.txt."""


class ImageFolder(Images, frozen=True, kw_only=True, tag="image_folder", tag_field="kind"):
    """A folder for each class, in train/ and in val/ or test/."""


class Arrays(Images, frozen=True, kw_only=True, tag="arrays", tag_field="kind"):
    """Images in .npz files: uint8 pixels, or JPEG files end to end with their offsets.

    Attributes:
        train: Name of the file of training images, in ``root``.
        test: Name of the file of held-out images; by default the same file holds both.
    """

    train: str
    test: str | None = None
