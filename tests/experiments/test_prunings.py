"""What a cell removes, against the paper's released code and text written out in NumPy."""

import msgspec
import numpy as np
import pytest
import torch

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.prunings import prune_cell
from shrinkscope.experiments.records import Cell

SIZES = {"conv1.weight": (12, 9), "conv2.weight": (16, 108), "head.weight": (10, 64)}


def pruned(study: Study, cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights of a network before and after, as matrices with a row a channel, and what is kept of them."""
    model = new_network("digits", seed=1)
    before = {name: model.get_parameter(name).detach().numpy().copy().reshape(SIZES[name]) for name in SIZES}
    others = {name: tensor.clone() for name, tensor in model.state_dict().items() if name not in SIZES}
    mask = prune_cell(study, model, cell)
    after = {name: model.get_parameter(name).detach().numpy().reshape(SIZES[name]) for name in SIZES}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in others.items())
    return before, after, {name: kept.numpy().reshape(SIZES[name]) for name, kept in mask.items()}


def overwritten_and_pruned(weight: np.ndarray, level: float) -> np.ndarray:
    """The released code's "highest": |w| − max|w| takes the place of w, then the smallest magnitudes of that go."""
    magnitudes = np.abs(weight)
    flat = (magnitudes - magnitudes.max()).ravel()
    flat[np.argsort(np.abs(flat), kind="stable")[: round(level * flat.size)]] = 0
    return flat.reshape(weight.shape)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("scope", ["last", "all"])
def test_overwritten_highest_is_that_of_the_released_code(tiny, scope, level):
    study = msgspec.structs.replace(tiny, highest="overwritten")
    cell = Cell(trial=1, scope=scope, method="highest", level=level)
    before, after, kept = pruned(study, cell)
    assert set(kept) == ({"head.weight"} if scope == "last" else set(SIZES))
    for name in SIZES:
        expected = overwritten_and_pruned(before[name], level) if name in kept else before[name]
        assert np.array_equal(after[name], expected)
    # The text's own "highest" removes the same entries, and leaves the others what they were.
    _, plain, same = pruned(tiny, cell)
    for name, entries in kept.items():
        assert np.array_equal(entries, same[name])
        assert np.array_equal(plain[name], np.where(entries, before[name], 0))
        assert not np.array_equal(plain[name], after[name])


def test_the_overwriting_spares_the_other_methods(tiny):
    for method in ("lowest", "random"):
        cell = Cell(trial=1, scope="all", method=method, level=0.5)
        found = [pruned(msgspec.structs.replace(tiny, highest=how), cell)[1] for how in ("overwritten", "magnitude")]
        assert all(np.array_equal(found[0][name], found[1][name]) for name in SIZES)


@pytest.mark.parametrize("method", ["lowest", "highest", "random"])
@pytest.mark.parametrize("scope", ["last", "all"])
def test_channels_go_whole_by_their_l1_norm(tiny, scope, method):
    study = msgspec.structs.replace(tiny, structure="channels")
    before, after, kept = pruned(study, Cell(trial=1, scope=scope, method=method, level=0.3))
    assert set(kept) == ({"head.weight"} if scope == "last" else set(SIZES))
    for name, entries in kept.items():
        rows = len(entries)
        gone = np.flatnonzero(~entries.any(axis=1))
        assert len(gone) == round(0.3 * rows)
        assert entries.all(axis=1).sum() == rows - len(gone)  # whole channels, nothing in between
        order = np.argsort(np.abs(before[name]).sum(axis=1), kind="stable")
        if method != "random":
            expected = order[: len(gone)] if method == "lowest" else order[-len(gone) :]
            assert set(gone) == set(expected)
        assert np.array_equal(after[name], np.where(entries, before[name], 0))


def test_a_random_choice_of_channels_is_the_trials_and_grows_with_the_level(tiny):
    study = msgspec.structs.replace(tiny, structure="channels", trials=2)

    def kept(trial: int, level: float) -> np.ndarray:
        return pruned(study, Cell(trial=trial, scope="all", method="random", level=level))[2]["conv2.weight"]

    assert not np.any(kept(1, 0.8) & ~kept(1, 0.3))
    assert np.array_equal(kept(1, 0.3), kept(1, 0.3))
    assert not np.array_equal(kept(1, 0.3), kept(2, 0.3))


def test_the_last_layer_may_be_another_one(tiny):
    study = msgspec.structs.replace(tiny, last="conv2.weight")
    before, after, kept = pruned(study, Cell(trial=1, scope="last", method="lowest", level=0.5))
    assert list(kept) == ["conv2.weight"]
    assert np.array_equal(after["head.weight"], before["head.weight"])
    assert (after["conv2.weight"] == 0).sum() == 16 * 108 // 2
