import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shrinkscope.errors import OutputError
from shrinkscope.report.figures.paper import BLOCKS, FIGURES, Block, Source, figure_names, paper_figure, source_for
from shrinkscope.report.figures.paper_runs import missing_run, source_of

FIRST = BLOCKS[0]  # ResNet50 on CIFAR10


def test_the_table_has_every_figure_of_the_paper():
    assert list(FIGURES) == list(range(2, 19))
    assert len(set(figure_names(BLOCKS))) == len(BLOCKS)
    assert [(b.network, b.data) for b in BLOCKS if b.figure == 4] == [
        ("vgg16", "tiny_imagenet"),
        ("resnet50", "tiny_imagenet"),
    ]


def test_the_run_of_the_paper_comes_first_then_the_substitute_then_a_stand_in():
    exact, jpeg = Source("a", "resnet50", "cifar10"), Source("b", "resnet20", "cifar10_jpeg")
    better, digits = Source("c", "resnet56", "cifar10_jpeg"), Source("d", "digits", "digits")
    everything = [digits, jpeg, better, exact]
    assert source_for(FIRST, everything, {"resnet50": "digits"}) == exact
    assert source_for(FIRST, everything[:3], {"resnet50": "digits"}) == digits
    assert source_for(FIRST, everything[:3], {"resnet50": "resnet20"}) == jpeg
    assert source_for(FIRST, everything[:3], {}) == better
    assert source_for(FIRST, [digits], {}) is None  # other images are drawn only when asked for
    assert source_for(replace(FIRST, data="cifar100"), [jpeg, exact], {}) is None


def test_figures_say_what_stands_in_for_what(records: Any):
    picture = paper_figure(FIRST, Source("b", "resnet20", "cifar10_jpeg"), records)
    assert not isinstance(picture, str)
    assert picture.title == "Figure 2 · ResNet-20 on CIFAR10 JPEG in place of ResNet50 on CIFAR10"
    assert picture.title in [text.get_text() for text in picture.figure.texts]
    assert "PD in accuracy, held-out" in picture.caption
    own = paper_figure(FIRST, Source("b", "resnet50", "cifar10"), records, performance="loss")
    assert not isinstance(own, str)
    assert own.title == "Figure 2 · ResNet50 on CIFAR10"
    assert "PD in loss, held-out" in own.caption


def test_the_papers_estimate_is_drawn_where_it_was_recorded(records: Any):
    block = next(block for block in BLOCKS if block.figure == 5)
    source = Source("b", "resnet50", "cifar10")
    sampled = records.assign(metric=records["metric"].replace("ap3_student_t_grouped", "ap3_student_t_sampled"))
    captions = [paper_figure(block, source, table).caption for table in (records, sampled)]  # pyright: ignore
    assert "AP3 Student-t, grouped" in captions[0]
    assert captions[0] != captions[1]


def test_what_was_not_recorded_is_said(records: Any):
    source = Source("b", "resnet50", "cifar10")
    without = records[records["metric"] != "ap2"]
    assert paper_figure(FIRST, source, without) == "run b recorded no ap2"
    assert paper_figure(FIRST, source, records, scope="first") == "run b did not prune scope first"


def test_pictures_are_written_by_suffix(records: Any, tmp_path: Path):
    block = Block(7, "vgg16", "cifar10", ("ap2",), ("ap3_student_t_grouped",), ("methods",))
    picture = paper_figure(block, Source("b", "vgg16", "cifar10"), records)
    assert not isinstance(picture, str)
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        picture.write(tmp_path / f"figure{suffix}")
        assert (tmp_path / f"figure{suffix}").read_bytes().startswith(magic)
    with pytest.raises(OutputError, match=r"unknown suffix '\.gif'; expected \.png, \.svg or \.pdf"):
        picture.write(tmp_path / "figure.gif")


@pytest.mark.parametrize(
    ("study", "network", "data"),
    [
        ({"network": "torchvision:resnet50", "data": {"kind": "cifar", "classes": 10}}, "resnet50", "cifar10"),
        ({"network": "torchvision:alexnet", "data": {"kind": "cifar", "classes": 100}}, "alexnet", "cifar100"),
        ({"network": "torchvision:vit_b_16", "data": {"kind": "tiny_imagenet"}}, "vit_b_16", "tiny_imagenet"),
        (
            {"network": "transformers:google/vit-base-patch16-224", "data": {"kind": "tiny_imagenet"}},
            "vit_b_16",
            "tiny_imagenet",
        ),
        (
            {"network": "resnet20", "data": {"kind": "arrays", "train": "cifar10_jpeg_60000.npz"}},
            "resnet20",
            "cifar10_jpeg",
        ),
        ({"network": "digits", "data": {"kind": "digits"}}, "digits", "digits"),
    ],
)
def test_a_configuration_names_its_network_and_data(study: dict, network: str, data: str):
    assert source_of("k", json.dumps(study)) == Source("k", network, data)


def test_a_run_that_is_missing_is_named_with_its_command():
    line = missing_run(replace(FIRST, network="vit_b_16", data="tiny_imagenet"))
    assert line == (
        "no run of ViT-B/16 on Tiny-ImageNet; make it with: shrinkscope run vit_b_16-tiny_imagenet --data DIR"
    )
