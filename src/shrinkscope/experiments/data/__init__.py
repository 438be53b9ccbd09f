"""Image data sets of a study: what they are, where they lie, and how their images become inputs."""

from shrinkscope.experiments.data.settings import Arrays, Cifar, ImageFolder, Images, TinyImageNet, Transform

__all__ = ["Arrays", "Cifar", "ImageFolder", "Images", "TinyImageNet", "Transform"]
