"""The studies that come with the package: each decodes, and says what protocol.md says."""

import itertools

import msgspec
import pytest

from shrinkscope.experiments.catalogue import shipped_studies
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Cifar, TinyImageNet, Transform
from shrinkscope.experiments.demo import DEMO
from shrinkscope.experiments.settings import ConfigError
from shrinkscope.experiments.shipped import find_study, placed
from shrinkscope.latent import SampledStudentT

# Transcribed from the specification of the paper's experiments, not from the files.
LEARNING_RATE = {"alexnet": 0.01, "vgg16": 0.01, "resnet50": 0.1, "vit_b_16": 0.002}
DATA = {"cifar10": Cifar(classes=10), "cifar100": Cifar(classes=100), "tiny_imagenet": TinyImageNet()}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR100 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
GRID = list(itertools.product(LEARNING_RATE, DATA, (False, True)))


def training(network: str, data: str, epochs: int) -> Training:
    tiny = data == "tiny_imagenet" and network != "vit_b_16"
    return Training(
        epochs=epochs,
        batch_size=128,
        learning_rate=0.001 if tiny else LEARNING_RATE[network],
        momentum=0.9,
        weight_decay=1e-4 if tiny else 0.0,
        schedule="cosine",
    )


@pytest.mark.parametrize(("network", "data", "released"), GRID)
def test_a_study_of_the_paper_has_its_settings(network, data, released):
    study = find_study(f"{network}-{data}{'-released' if released else ''}")
    assert study.training == training(network, data, 60 if released and data == "tiny_imagenet" else 100)
    assert study.finetuning == training(network, data, 20)
    mean, deviation = CIFAR100 if data == "cifar100" else IMAGENET
    transform = Transform(size=224, augmentation="resized_crop", mean=mean, deviation=deviation)
    assert study.data == msgspec.structs.replace(DATA[data], transform=transform)
    assert (study.methods, study.levels) == (("lowest", "highest", "random"), (0.1, 0.3, 0.5, 0.8))
    assert (study.trials, study.scopes, study.structure, study.last) == (3, ("last",), "weights", None)
    assert (study.head, study.trained) == ("new", "network")
    vit = network == "vit_b_16" and released
    assert study.network == ("transformers:google/vit-base-patch16-224" if vit else f"torchvision:{network}")
    assert study.weights == ("pretrained" if vit else "IMAGENET1K_V1")
    sampled = SampledStudentT(name="student_t_sampled", df=4.0, samples=600_000, repeats=100)
    assert sampled in study.latents
    assert {"gaussian", "student_t", "student_t_grouped"} <= set(study.latents)  # exact, beside the sampled one
    quirks = (study.dense_reference, study.random_masks, study.highest, study.finetune, study.released_gaussian)
    if released:
        assert quirks == ("last", "fixed", "overwritten", "biases", True)
    else:
        assert quirks == ("best", "trial", "magnitude", "scope", False)


def test_every_shipped_study_decodes_under_its_own_name():
    names = list(shipped_studies())
    assert {f"{n}-{d}{r}" for n in LEARNING_RATE for d in DATA for r in ("", "-released")} <= set(names)
    here = {"digits", "resnet20-cifar10_jpeg", "resnet32-cifar10_jpeg", "resnet56-cifar10_jpeg"}
    here |= {"resnet20-cifar10_jpeg-whole", "efficientnet_lite0-tiny_imagenet", "efficientnet_lite0-cifar10_jpeg"}
    here |= {"digits-paper", "efficientnet_lite0-tiny_imagenet-small", "efficientnet_lite0-cifar10_jpeg-small"}
    here |= {f"resnet{depth}-cifar10_jpeg-whole-small" for depth in (20, 32, 56)}
    here |= {"resnet20-cifar10_jpeg-channels", "resnet20-cifar10_jpeg-whole-channels-small"}
    assert here <= set(names)
    assert [find_study(name).name for name in names] == names


def test_the_digits_are_the_demos_study():
    assert msgspec.structs.replace(find_study("digits"), name=DEMO.name) == DEMO


def test_an_unknown_study_is_answered_with_those_that_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"^no study is called 'resnet51-cifar10'; did you mean resnet50-cifar10 or "):
        find_study("resnet51-cifar10")
    with pytest.raises(
        ConfigError,
        match=r"^no study is called 'zzz'; give a .toml file or a name such as digits; shrinkscope run --list names",
    ):
        find_study("zzz")
    with pytest.raises(ConfigError, match="cannot read .*none.toml"):
        find_study(str(tmp_path / "none.toml"))


def test_places_are_put_in_where_they_mean_something(tmp_path):
    study = find_study("resnet20-cifar10_jpeg")
    assert study.weights is not None
    (tmp_path / study.weights).write_bytes(b"")
    found = placed(study, str(tmp_path), str(tmp_path))
    assert found.data.root == str(tmp_path)
    assert found.weights == str(tmp_path / study.weights)
    assert placed(study, None, "other.npz").weights == "other.npz"
    digits = find_study("digits")
    assert placed(digits, str(tmp_path), str(tmp_path)) == digits
    assert placed(study, None, None) == study
    assert isinstance(found, Study)
