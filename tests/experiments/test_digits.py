"""The digits and their network."""

import gzip
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from shrinkscope.errors import DataError
from shrinkscope.experiments.digits import Digits, DigitsNet, load_digits_split


def rows(inputs: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in inputs.flatten(start_dim=1)}


def test_every_digit_is_on_one_side_with_its_own_label():
    split = load_digits_split()
    images, labels = load_digits(return_X_y=True)
    assert (len(split.y_train), len(split.y_test)) == (1437, 360)
    # Undo the standardisation of all 1,797 digits and find each among the originals, with its label.
    inputs, targets = torch.cat([split.x_train, split.x_test]), torch.cat([split.y_train, split.y_test])
    pixels = (inputs - inputs.min()) / (inputs.max() - inputs.min()) * 16
    known = sorted((tuple(map(int, image)), int(label)) for image, label in zip(images, labels, strict=True))
    found = [tuple(row.round().int().tolist()) for row in pixels.flatten(start_dim=1)]
    assert sorted(zip(found, targets.tolist(), strict=True)) == known


def test_each_class_has_its_share_of_the_held_out_digits():
    split = load_digits_split(Digits(test_size=500))
    every = torch.bincount(torch.cat([split.y_train, split.y_test]), minlength=10)
    held_out = torch.bincount(split.y_test, minlength=10)
    # Shares are rounded to whole digits.
    assert ((held_out - every * 500 / 1797).abs() < 1).all()
    assert held_out.sum() == 500


def test_standardised_by_the_training_pixels_alone():
    split = load_digits_split()
    assert split.x_train.dtype == torch.float32
    # float32 sums over 92,000 pixels
    assert float(split.x_train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(split.x_train.std()) == pytest.approx(1, abs=1e-5)
    assert abs(float(split.x_test.mean())) > 1e-5


def test_the_split_depends_on_its_seed_and_on_no_global_one():
    torch.manual_seed(1)
    first = load_digits_split()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = load_digits_split(), load_digits_split(Digits(seed=1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert rows(first.x_test) != rows(other.x_test)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_network_has_readable_names_and_batch_norm():
    model = DigitsNet()
    weights = {name: tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")}
    assert weights == {
        "conv1.weight": (12, 1, 3, 3),
        "bn1.weight": (12,),
        "conv2.weight": (16, 12, 3, 3),
        "bn2.weight": (16,),
        "head.weight": (10, 64),
    }
    assert model(torch.zeros(5, 1, 8, 8)).shape == (5, 10)


@pytest.mark.parametrize("size", [9, 1788])
def test_a_split_without_some_class_is_refused(size):
    with pytest.raises(DataError, match=rf"test_size = {size}; expected 10 to 1787 of the digits"):
        Digits(test_size=size)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_split_cannot_take_is_refused(seed):
    with pytest.raises(DataError, match=rf"seed = {seed}; expected 0 to 2\^32 - 1"):
        Digits(seed=seed)


class _Elsewhere:
    """An installation of scikit-learn whose files are in another place."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def locate_file(self, name: str) -> Path:
        return self._place / Path(name).name


def test_digits_that_are_missing_damaged_or_others_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("shrinkscope.experiments.digits.distribution", lambda _: _Elsewhere(tmp_path))
    with pytest.raises(DataError, match=r"cannot read the digits in .*No such file.*reinstall scikit-learn"):
        load_digits_split()
    (tmp_path / "digits.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot read the digits in .*Not a gzipped file"):
        load_digits_split()
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    with pytest.raises(DataError, match=r"holds a table of shape \(2, 3\); expected \(1797, 65\)"):
        load_digits_split()
