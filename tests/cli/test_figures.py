"""``shrinkscope figures``: which figures a store gives, where they go, and what is said of the others."""

import itertools
import json

import pytest

from commands import command
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.store import Run, Store
from shrinkscope.report.figures.paper import BLOCKS

run = command("figures")

METRICS = {"ap2": 10.0, "ap3_student_t_grouped": 0.3, "pd_accuracy_test": 0.1, "pd_accuracy_train": 0.05}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with two levels of two methods in the last layer of a ResNet-20 on JPEG images."""
    made = tmp_path_factory.mktemp("runs")
    config = {"network": "resnet20", "data": {"kind": "arrays", "train": "cifar10_jpeg_60000.npz"}}
    with Store(made / "records.sqlite") as store:
        store.begin(
            Run(run="one", config_hash="h", config=json.dumps(config), versions="{}", seed=1, hardware="", started="")
        )
        for trial, method, level in itertools.product((1, 2), ("lowest", "random"), (0.1, 0.8)):
            records = [
                Record(epoch=epoch, layer="", metric=metric, value=size * level * trial, unit="nats", status="exact")
                for epoch, (metric, size) in itertools.product((0, 1, 2), METRICS.items())
            ]
            store.write_cell("one", Cell(trial=trial, scope="last", method=method, level=level), records, seconds=1.0)
    return made


def test_a_figure_is_drawn_in_every_format_from_what_is_there(folder, tmp_path, monkeypatch, capsys):
    formats = ("--format", "png", "--format", "svg", "--format", "pdf")
    code, out, err = run(monkeypatch, capsys, str(folder), "--figure", "2", "--out", str(tmp_path), *formats)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"figure-02a: ResNet-20 on CIFAR10 JPEG in place of ResNet50 on CIFAR10 → {tmp_path / 'figure-02a.png'}",
        "figure-02b: no run of ResNet50 on CIFAR100; make it with: shrinkscope run resnet50-cifar100 --data DIR",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure-02a.pdf", "figure-02a.png", "figure-02a.svg"]


def test_every_block_has_one_line_drawn_or_not(folder, tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, str(folder), "--out", str(tmp_path), "--json")
    assert code == 0
    told = json.loads(out)
    assert len(told) == len({entry["figure"] for entry in told}) == len(BLOCKS)
    said = {entry["figure"]: entry.get("missing", "drawn") for entry in told}
    assert said["figure-04a"].startswith("no run of VGG16 on Tiny-ImageNet; make it with: shrinkscope run vgg16-tiny")
    # This run has no rotated Gaussian, which figure 12 is about.
    assert said["figure-12a"] == "run one recorded no ap3_gaussian_rotated or ap3_gaussian_rotated_grouped"
    drawn = [entry for entry in told if "files" in entry]
    assert {entry["figure"] for entry in drawn} >= {"figure-02a", "figure-03a", "figure-05a", "figure-07", "figure-18"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{entry['figure']}.png" for entry in drawn}
    assert all("means over 2 trials" in entry["caption"] for entry in drawn)


def test_a_substitute_may_be_of_other_images_and_is_drawn_once(folder, tmp_path, monkeypatch, capsys):
    arguments = ("--figure", "4", "--substitute", "vgg16=resnet20", "--substitute", "resnet50=resnet20")
    out = run(monkeypatch, capsys, str(folder), "--out", str(tmp_path), *arguments)[1].splitlines()
    assert out[0].startswith("figure-04a: ResNet-20 on CIFAR10 JPEG in place of VGG16 on Tiny-ImageNet → ")
    assert out[1].endswith("shrinkscope run resnet50-tiny_imagenet --data DIR (its stand-in is figure-04a)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--figure", "1"), "no figure 1; expected 2 to 18, or all"),
        (("--format", "gif"), "no format gif; expected png, svg or pdf"),
        (("--substitute", "resnet=digits"), "--substitute resnet=digits; expected a network of the paper (alexnet, "),
        (("--run", "two"), "records.sqlite holds no run two; it holds one"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, message, tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, str(folder), "--out", str(tmp_path), *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_another_scope_or_place_is_answered(folder, tmp_path, monkeypatch, capsys):
    scope = ("--figure", "2", "--scope", "all", "--out", str(tmp_path))
    assert "figure-02a: run one did not prune scope all" in run(monkeypatch, capsys, str(folder), *scope)[1]
    (tmp_path / "file").write_text("")
    code, _, err = run(monkeypatch, capsys, str(folder), "--figure", "2", "--out", str(tmp_path / "file"))
    assert code == 2
    assert "cannot write" in err
