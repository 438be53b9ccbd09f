"""Which network and data set a run in a store is of, in the names that shipped studies have, and how to make one."""

import json
from pathlib import PurePath

from shrinkscope.report.figures.paper import Block, Source, name_of

_VISION_TRANSFORMERS = {"vit-base-patch16-224": "vit_b_16"}


def source_of(run: str, config: str) -> Source:
    """Name the network and data set of a run.

    Args:
        run: Its key.
        config: Its configuration as JSON.

    Returns:
        For example ``resnet50`` and ``cifar10`` of ``torchvision:resnet50`` and the official CIFAR10 files.

    >>> source_of("a1", '{"network": "torchvision:vgg16", "data": {"kind": "cifar", "classes": 100}}')
    Source(run='a1', network='vgg16', data='cifar100')
    """
    study = json.loads(config)
    network = study.get("network", "digits").rpartition(":")[2].rpartition("/")[2]
    name = str(_VISION_TRANSFORMERS.get(network, network))
    return Source(run=run, network=name, data=_data(study.get("data", {})))


def _data(data: dict) -> str:
    kind = data.get("kind", "digits")
    if kind == "cifar":
        return f"cifar{data.get('classes', 10)}"
    if kind == "arrays":
        stem = PurePath(data.get("train", "arrays")).stem
        return next((name for name in ("cifar10_jpeg", "tiny_imagenet") if stem.startswith(name)), stem)
    return kind


def missing_run(block: Block) -> str:
    """Say what run a figure lacks, and the command that makes it.

    >>> from shrinkscope.report.figures.paper import BLOCKS
    >>> missing_run(BLOCKS[0])
    'no run of ResNet50 on CIFAR10; make it with: shrinkscope run resnet50-cifar10 --data DIR'
    """
    return (
        f"no run of {name_of(block.network)} on {name_of(block.data)}; make it with: "
        f"shrinkscope run {block.network}-{block.data} --data DIR"
    )
