"""Image data sets of a study: what they are, where they lie, and how their images become inputs."""

from shrinkscope.experiments.data.opening import open_images
from shrinkscope.experiments.data.parts import ImageData, Part
from shrinkscope.experiments.data.settings import Arrays, Cifar, ImageFolder, Images, TinyImageNet, Transform

__all__ = [
    "Arrays",
    "Cifar",
    "ImageData",
    "ImageFolder",
    "Images",
    "Part",
    "TinyImageNet",
    "Transform",
    "open_images",
]
