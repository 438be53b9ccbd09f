"""The paper's figures 2 to 18: what each shows, as a table, and how one is drawn from runs that are there or alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from shrinkscope.report.curves import NETWORK, Curves
from shrinkscope.report.figures.epochs import over_epochs
from shrinkscope.report.figures.picture import Picture

# The first of these that a run recorded is drawn: the paper's own estimate, else its exact value.
AP2 = ("ap2",)
STUDENT_T = ("ap3_student_t_sampled", "ap3_student_t_grouped")
GAUSSIAN = ("ap3_gaussian_rotated", "ap3_gaussian_rotated_grouped")
BOTH_ROWS = ("levels", "methods")


@dataclass(frozen=True)
class Block:
    """One group of panels of a figure: two metrics of one network on one data set.

    Attributes:
        figure: Number of the figure in the paper.
        network: Network of the paper.
        data: Data set of the paper.
        solid: Metrics of the solid lines, the preferred one first.
        dashed: Metrics of the dashed lines; ``pd_*_test`` stands for accuracy or loss.
        rows: Rows of panels, as for ``over_epochs``.
    """

    figure: int
    network: str
    data: str
    solid: tuple[str, ...]
    dashed: tuple[str, ...]
    rows: tuple[str, ...] = BOTH_ROWS


@dataclass(frozen=True)
class Source:
    """A run that a block may be drawn from, named as shipped studies are.

    Attributes:
        run: Its key.
        network: Its network, such as ``resnet50``.
        data: Its data set, such as ``cifar10``.
    """

    run: str
    network: str
    data: str


TEST, TRAIN = ("pd_*_test",), ("pd_*_train",)
CIFARS = ("cifar10", "cifar100")


def _blocks() -> tuple[Block, ...]:
    def each(
        figure: int,
        networks: Sequence[str],
        data: Sequence[str],
        solid: tuple[str, ...],
        dashed: tuple[str, ...],
        rows: tuple[str, ...] = BOTH_ROWS,
    ) -> list[Block]:
        return [Block(figure, network, one, solid, dashed, rows) for network in networks for one in data]

    levels, methods = ("levels",), ("methods",)
    return (
        *each(2, ("resnet50",), CIFARS, AP2, TEST),
        *each(3, ("vgg16",), CIFARS, AP2, TEST),
        *each(4, ("vgg16", "resnet50"), ("tiny_imagenet",), AP2, TEST),
        *each(5, ("resnet50",), CIFARS, STUDENT_T, TEST),
        *each(6, ("vit_b_16",), ("tiny_imagenet",), STUDENT_T, TEST),
        *each(7, ("vgg16",), ("cifar10",), AP2, STUDENT_T, methods),
        *each(8, ("alexnet",), CIFARS, AP2, TEST),
        *each(9, ("alexnet",), CIFARS, AP2, TRAIN),
        *each(10, ("resnet50",), CIFARS, AP2, TRAIN),
        *each(11, ("vgg16",), CIFARS, AP2, TRAIN),
        *each(12, ("resnet50",), ("cifar10",), GAUSSIAN, TRAIN, levels),
        *each(12, ("resnet50",), ("cifar10",), GAUSSIAN, TEST, levels),
        *each(13, ("resnet50",), CIFARS, STUDENT_T, TRAIN),
        *(b for d in CIFARS for pd in (TRAIN, TEST) for b in each(14, ("alexnet",), (d,), STUDENT_T, pd, levels)),
        *(b for d in CIFARS for pd in (TRAIN, TEST) for b in each(15, ("alexnet",), (d,), STUDENT_T, pd, methods)),
        *(b for d in CIFARS for pd in (TRAIN, TEST) for b in each(16, ("vgg16",), (d,), STUDENT_T, pd, levels)),
        *(b for d in CIFARS for pd in (TRAIN, TEST) for b in each(17, ("vgg16",), (d,), STUDENT_T, pd, methods)),
        *each(18, ("alexnet",), ("cifar10",), AP2, STUDENT_T, methods),
    )


BLOCKS = _blocks()
FIGURES = tuple(dict.fromkeys(block.figure for block in BLOCKS))

# Stand-ins that are taken, and announced, when a run of the paper's network is not there: convolutional networks for
# convolutional ones, nearest in depth first, on the same images (for CIFAR10 also from JPEG files).
_SMALLER = ("resnet56", "resnet32", "resnet20")
STAND_INS: dict[str, tuple[str, ...]] = {
    "resnet50": (*_SMALLER, "efficientnet_lite0"),
    "vgg16": ("efficientnet_lite0", *_SMALLER),
    "alexnet": ("efficientnet_lite0", *reversed(_SMALLER)),
}
_ALIKE = {"cifar10": ("cifar10", "cifar10_jpeg"), "tiny_imagenet": ("tiny_imagenet",), "cifar100": ("cifar100",)}
_NAMES = {
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
    "alexnet": "AlexNet",
    "vit_b_16": "ViT-B/16",
    "resnet20": "ResNet-20",
    "resnet32": "ResNet-32",
    "resnet56": "ResNet-56",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "cifar10_jpeg": "CIFAR10 JPEG",
    "tiny_imagenet": "Tiny-ImageNet",
}


_DATA_NAMES = {"digits": "scikit-learn's digits"}


def name_of(key: str) -> str:
    """Write a network or data set as the paper does; one that is not known keeps its own name.

    >>> name_of("vgg16"), name_of("mine")
    ('VGG16', 'mine')
    """
    return _NAMES.get(key, key)


def named(source: Source) -> str:
    """Say what a run is of.

    >>> named(Source("a", "digits", "digits")), named(Source("a", "vgg16", "cifar10"))
    ("digits network on scikit-learn's digits", 'VGG16 on CIFAR10')
    """
    network = "digits network" if source.network == "digits" else name_of(source.network)
    return f"{network} on {_DATA_NAMES.get(source.data) or name_of(source.data)}"


def source_for(block: Block, sources: Sequence[Source], substitutes: Mapping[str, str]) -> Source | None:
    """Choose the run that a block is drawn from.

    Args:
        block: What the paper shows.
        sources: The runs that are there; of several that fit equally, the last.
        substitutes: Network of the paper → network that stands in for it, on any data if need be. They come before
            the stand-ins of ``STAND_INS``, which need the same images.

    Returns:
        The run of the paper's network and data, else a stand-in, else None.
    """
    wanted: list[tuple[str, tuple[str, ...] | None]] = [(block.network, (block.data,))]
    alike = _ALIKE[block.data]
    if block.network in substitutes:
        wanted += [(substitutes[block.network], alike), (substitutes[block.network], None)]
    wanted += [(network, alike) for network in (block.network, *STAND_INS.get(block.network, ()))]
    for network, data in wanted:
        fits = [s for s in sources if s.network == network and (data is None or s.data in data)]
        if fits:
            return fits[-1]
    return None


def paper_figure(
    block: Block, source: Source, records: pd.DataFrame, *, scope: str = "last", performance: str = "accuracy"
) -> Picture | str:
    """Draw one block of a figure, naming in its title what stands in for what.

    Args:
        block: What the paper shows.
        source: The run it is drawn from.
        records: The long table of that run.
        scope: Part of the network that was pruned; the paper prunes the last layer.
        performance: ``accuracy``, as in the paper's figures, or ``loss``, as in its theory.

    Returns:
        The picture, or in one line what the run did not record.

    Source: the figures' arrangement: levels for each method above, methods for each level below.
    """
    curves = Curves(records)
    if scope not in curves.scopes:
        return f"run {source.run} did not prune scope {scope}"
    present = curves.metrics_of(NETWORK)
    chosen = []
    for wanted in (block.solid, tuple(name.replace("*", performance) for name in block.dashed)):
        there = [name for name in wanted if name in present]
        if not there:
            return f"run {source.run} recorded no {' or '.join(wanted)}"
        chosen.append(there[0])
    here = named(source)
    paper = f"{name_of(block.network)} on {name_of(block.data)}"
    text = here if here == paper else f"{here} in place of {paper}"
    picture = over_epochs(
        curves, chosen[0], chosen[1], scope, rows=block.rows, data=text, title=f"Figure {block.figure} · {text}"
    )
    return replace(picture, family="paper", group=f"Figure {block.figure}")


def figure_names(blocks: Sequence[Block]) -> list[str]:
    """Give each block the name of its file: the figure's number, and a letter where it has several blocks.

    >>> figure_names([block for block in BLOCKS if block.figure in (6, 12)])
    ['figure-06', 'figure-12a', 'figure-12b']
    """
    names = []
    for block in blocks:
        several = sum(other.figure == block.figure for other in BLOCKS) > 1
        position = BLOCKS.index(block) - next(i for i, other in enumerate(BLOCKS) if other.figure == block.figure)
        names.append(f"figure-{block.figure:02}{chr(97 + position) if several else ''}")
    return names
