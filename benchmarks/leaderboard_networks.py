"""The networks of the leaderboard, the images they are judged on, and the inputs that the rungs may look at."""

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from leaderboard_cases import Wanted
from leaderboard_transformer import trained_transformer
from PIL import Image
from predictive_bound import population
from torch import Tensor, nn

from shrinkscope.experiments.demo import DEMO
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.train import train
from shrinkscope.experiments.zoo import load_data, load_network
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.experiments.zoo.efficientnet_lite import EfficientNetLite0
from shrinkscope.experiments.zoo.lenet import LeNet300
from shrinkscope.performance import synthetic_inputs

UNLABELLED, SYNTHETIC, POOL = 256, 128, 512
FEWER = 2000  # JPEG images that the deeper networks are judged on: a pass of all takes a minute
DISTILLED, REFIT = 512, 128  # images that EfficientNet is trained on, and that its batch norm is re-estimated from
STEPS, FEW_STEPS = 60, 20  # of fitting synthetic inputs; the few for EfficientNet
SIDE = 160  # pixels of the images of EfficientNet: half the time of the 224 that it was trained on
NAMES = ("resnet20", "lenet300", "digits", "transformer", "efficientnet_lite0", "resnet32", "resnet56")
MEAN, DEVIATION = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

# All cases where they are cheap. In the order of the cases, so many are measured after batch norm re-estimation, too.
WANTED = {
    "resnet20": Wanted(),
    "lenet300": Wanted(),
    "digits": Wanted(),
    "transformer": Wanted(one_layer=400),
    "resnet32": Wanted(one_layer=200, total=50, refit=60, later_total=50, refit_total=40),
    "efficientnet_lite0": Wanted(
        one_layer=100, mixed=50, total=30, refit=0, tables=False, later_mixed=50, later_total=70, refit_total=40
    ),
    "resnet56": Wanted(one_layer=150, mixed=60, total=40, refit=40, later_mixed=40, later_total=60, refit_total=40),
}

Samples = tuple[Tensor, Tensor]


class Subject(NamedTuple):
    """A network and everything that is put through it.

    ``judge`` is what the cases are measured on, ``inputs`` the sets that rungs compare predictions on, ``informed`` the
    unlabelled inputs of the informed latents, ``refit`` those that batch norm is re-estimated from, ``training`` what
    compressed networks are trained on, ``more`` a second judge, ``wanted`` the number of cases, ``batch`` the number of
    inputs a pass, chosen so that the activations stay in the processor's cache, ``later`` those of the judge's images
    that networks are judged on after training: where there are no others, they are trained on the rest.
    """

    name: str
    network: nn.Module
    judge: Samples
    inputs: dict[str, Tensor]
    informed: Tensor
    wanted: Wanted
    refit: Tensor | None = None
    training: Samples | None = None
    more: Samples | None = None
    batch: int = 256
    later: slice = slice(None)


class Part(nn.Module):
    """A piece of a network between its blocks."""

    def __init__(self, run: Callable[[Tensor], Tensor], *inside: nn.Module) -> None:
        super().__init__()
        self.run, self.inside = run, nn.ModuleList(inside)

    def forward(self, features: Tensor) -> Tensor:
        """What comes out of it."""
        return self.run(features)


def links(network: nn.Module) -> Sequence[nn.Module]:
    """A network as a chain of modules, so that a change in one needs no run of those before it."""
    if isinstance(network, CifarResNet):
        blocks = [block for stage in (network.layer1, network.layer2, network.layer3) for block in stage]
        stem = Part(lambda x: network.bn1(network.conv1(x)).relu(), network.conv1, network.bn1)
        return [stem, *blocks, Part(lambda x: network.linear(x.mean(dim=(2, 3))), network.linear)]
    if isinstance(network, EfficientNetLite0):
        stem = Part(network.stem, network._conv_stem, network._bn0)
        return [stem, *network._blocks, Part(network.head, network._conv_head, network._bn1, network._fc)]
    if isinstance(network, LeNet300):
        first = Part(lambda x: network.fc1(x.flatten(1)).relu(), network.fc1)
        return [first, Part(lambda x: network.fc2(x).relu(), network.fc2), network.fc3]
    return list(network) if isinstance(network, nn.Sequential) else [network]


def subject(name: str, folder: Path) -> Subject:
    """A network of the leaderboard.

    Args:
        name: One of ``NAMES``.
        folder: The data.
    """
    makers = {"lenet300": _lenet, "digits": _digits, "transformer": _transformer, "efficientnet_lite0": _efficientnet}
    made = makers[name](folder) if name in makers else _resnet(name, folder)
    made.network.eval()
    return made


def _resnet(name: str, folder: Path) -> Subject:
    network, images, labels = population(name, folder)
    network.eval()
    with np.load(folder / "cifar10_lossless_4566.npz") as archive:
        pool = _standardised(torch.from_numpy(archive["x_train"]))
        targets = torch.from_numpy(archive["y_train_all"][archive["train_index"]].astype(np.int64))
    fresh, judged = _jpegs(folder, UNLABELLED)
    inputs = {"real": pool[:UNLABELLED], "unsure": _least_sure(network, pool[UNLABELLED:], 128), "fresh": fresh}
    inputs["none"] = _synthetic(network, images)
    if name != "resnet20":  # larger sets are compared on the cheapest of them
        inputs = {key: part[:64] for key, part in inputs.items()}
    return Subject(
        name,
        network,
        (images, labels),
        inputs,
        pool[:UNLABELLED],
        WANTED[name],
        refit=pool[-POOL:],
        training=(pool, targets),
        more=judged if name == "resnet20" else (judged[0][:FEWER], judged[1][:FEWER]),
        batch=16,
    )


def _jpegs(folder: Path, unlabelled: int) -> tuple[Tensor, Samples]:
    """The last JPEG test images, to look at without labels, and the others to judge on."""
    with np.load(folder / "cifar10_jpeg_60000.npz") as archive:
        packed, offset = archive["test_jpeg"], archive["test_offset"]
        labels = torch.from_numpy(archive["test_y"].astype(np.int64))
    pixels = [np.asarray(Image.open(io.BytesIO(packed[a:b].tobytes()))) for a, b in pairwise(offset)]
    images = _standardised(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    return images[-unlabelled:], (images[:-unlabelled], labels[:-unlabelled])


def _standardised(pixels: Tensor) -> Tensor:
    return (pixels.float() / 255 - MEAN) / DEVIATION


def _least_sure(network: nn.Module, pool: Tensor, count: int) -> Tensor:
    """The inputs whose two most probable classes lie closest, the closest first."""
    with torch.inference_mode():
        largest = torch.cat([network(part) for part in pool.split(64)]).softmax(dim=1).topk(2, dim=1).values
    return pool[(largest[:, 0] - largest[:, 1]).argsort()[:count]]


def _synthetic(network: nn.Module, images: Tensor, count: int = SYNTHETIC, steps: int = STEPS) -> Tensor:
    shape, generator = tuple(images.shape[1:]), torch.Generator().manual_seed(0)
    return synthetic_inputs(network, shape, count, generator, steps=steps).inputs


def _lenet(folder: Path) -> Subject:
    images, labels = load_data(str(folder / "mnist_t10k"))
    network = population("lenet300", folder)[0]
    judge, half = (images[:-UNLABELLED], labels[:-UNLABELLED]), len(images) // 2
    made = _mnist("lenet300", network, judge, images[-UNLABELLED:], (images[:half], labels[:half]))
    return made._replace(later=slice(half, None))


def _transformer(folder: Path) -> Subject:
    images, labels = load_data(str(folder / "mnist_t10k"))
    training = (images[:8000], labels[:8000])
    network = trained_transformer(training)
    judge = (images[8000:-UNLABELLED], labels[8000:-UNLABELLED])
    return _mnist("transformer", network, judge, images[-UNLABELLED:], training)


def _mnist(
    name: str, network: nn.Module, judge: Samples, unlabelled: Tensor, training: Samples | None = None
) -> Subject:
    inputs = {"real": unlabelled, "unsure": _least_sure(network, unlabelled, 64), "none": _synthetic(network, judge[0])}
    return Subject(name, network, judge, inputs, unlabelled, WANTED[name], training=training)


def _digits(folder: Path) -> Subject:
    split, network = load_digits_split(), new_network("digits", seed=0)
    assert isinstance(network, DigitsNet)
    assert DEMO.training is not None
    train(network, split.train, DEMO.training, torch.Generator().manual_seed(0))
    pool = split.x_train
    inputs = {"real": pool[:UNLABELLED], "unsure": _least_sure(network, pool[UNLABELLED:], 64)}
    inputs["none"] = _synthetic(network, pool)
    wanted = WANTED["digits"]
    return Subject(
        "digits", network, split.test, inputs, pool[:UNLABELLED], wanted, refit=pool[-POOL:], training=split.train
    )


def _efficientnet(folder: Path) -> Subject:
    """128 images to judge, 64 to look at, 512 to train on; one image a class, so that the order is a random one.

    The classes of the images that are trained on are not those that are judged: what the dense network predicts for
    them takes the place of their labels.
    """
    network = load_network("efficientnet_lite0").eval()
    weights = torch.load(folder / "weights" / "efficientnet-lite0-57934424.pth", weights_only=True)
    network.load_state_dict(weights)
    network = network.to(memory_format=torch.channels_last)
    order = np.random.default_rng(0).permutation(1000)
    images, labels = imagenet_sample(folder, order[:192])
    others, _ = imagenet_sample(folder, order[192 : 192 + DISTILLED])
    with torch.inference_mode():
        soft = torch.cat([network(part).softmax(dim=1) for part in others.split(8)])
    judge, unlabelled = (images[:128], labels[:128]), images[128:]
    inputs = {"real": unlabelled, "none": _synthetic(network, images, 16, FEW_STEPS)}
    wanted = WANTED["efficientnet_lite0"]
    later = {"refit": others[:REFIT], "training": (others, soft.clone())}
    return Subject("efficientnet_lite0", network, judge, inputs, unlabelled, wanted, batch=8, **later)


def imagenet_sample(folder: Path, chosen: np.ndarray) -> Samples:
    """Centre crops of 224 pixels of the ImageNet sample, made smaller, as EfficientNet-Lite sees them."""
    with np.load(folder / "imagenet1k_sample_1000_256.npz") as archive:
        packed, offset, labels = archive["jpeg"], archive["offset"], archive["y"].astype(np.int64)
    images = torch.empty(len(chosen), 3, SIDE, SIDE)
    for row, index in enumerate(chosen):
        picture = Image.open(io.BytesIO(packed[offset[index] : offset[index + 1]].tobytes())).convert("RGB")
        left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
        small = picture.crop((left, top, left + 224, top + 224)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        crop = np.asarray(small)
        images[row] = (torch.from_numpy(crop.copy()).permute(2, 0, 1).float() - 127) / 128
    return images, torch.from_numpy(labels[chosen])
