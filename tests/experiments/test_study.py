"""One cell after the other: what is trained, what is pruned, what is written."""

import itertools
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from shrinkscope.compression import MagnitudePruning, Mask, prune
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.demo import DEMO
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.grid import dense_cells, pruned_cells
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.study import Bench, StudyError, require_zeros

SIZES = {"conv1.weight": 108, "conv2.weight": 1728, "head.weight": 640}
LAST = Cell(trial=1, scope="last", method="lowest", level=0.8)
ALL = Cell(trial=1, scope="all", method="random", level=0.3)


def values(records: list[Record], epoch: int) -> dict[tuple[str, str], float | None]:
    return {(r.layer, r.metric): r.value for r in records if r.epoch == epoch}


@pytest.fixture(scope="module")
def bench(tiny, tmp_path_factory) -> Bench:
    made = Bench(tiny, tmp_path_factory.mktemp("networks"))
    made.carry_out(Cell(trial=1))
    return made


def tensors(bench: Bench, cell: Cell) -> dict[str, torch.Tensor]:
    return load_file(bench.network_path(cell))


def test_the_grid_of_the_paper_has_36_prunings_of_3_networks(tiny):
    study = msgspec.structs.replace(
        tiny, trials=3, methods=("lowest", "highest", "random"), levels=(0.1, 0.3, 0.5, 0.8)
    )
    cells = pruned_cells(study)
    assert [cell.trial for cell in dense_cells(study)] == [1, 2, 3]
    assert len(cells) == len(set(cells)) == 2 * 36
    last = {(cell.trial, cell.method, cell.level) for cell in cells if cell.scope == "last"}
    assert last == set(itertools.product((1, 2, 3), ("lowest", "highest", "random"), (0.1, 0.3, 0.5, 0.8)))
    assert len({Bench(study, Path()).network_path(cell) for cell in [*cells, *dense_cells(study)]}) == 75


def test_the_dense_networks_file_has_the_accuracy_that_is_recorded(bench):
    model = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    split = load_digits_split()
    with torch.no_grad():
        accuracy = (model(split.x_test).argmax(dim=1) == split.y_test).double().mean()
    assert values(bench.carry_out(Cell(trial=1)), 0)["", "accuracy_test"] == float(accuracy)


@pytest.mark.parametrize(("cell", "layers"), [(LAST, ["head.weight"]), (ALL, list(SIZES))])
def test_the_pruned_networks_file_has_the_recorded_zeros_and_distance(bench, cell, layers):
    records = bench.carry_out(cell)
    dense, pruned = tensors(bench, Cell(trial=1)), tensors(bench, cell)
    assert {record.epoch for record in records} == {0, 1, 2}
    found = values(records, 2)
    for layer, size in SIZES.items():
        # Of 1,728 × 0.3 = 518.4 weights the nearest integer; the others are whole.
        removed = int(size * cell.level + 0.5) if layer in layers else 0
        assert int((pruned[layer] == 0).sum()) == removed
        assert found[layer, "sparsity"] == removed / size
        distance = (dense[layer].double() - pruned[layer].double()).square().sum()
        # float64 sums in another order
        assert found[layer, "ap2"] == pytest.approx(float(distance), rel=1e-12)


def test_epoch_0_is_the_pruned_network_before_any_step(bench):
    model = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    dense = {name: weight.clone() for name, weight in model.state_dict().items()}
    prune(model, MagnitudePruning(level=0.8, scope="last"))
    distance = (dense["head.weight"].double() - model.state_dict()["head.weight"].double()).square().sum()
    found = values(bench.carry_out(LAST), 0)
    assert found["", "ap2"] == pytest.approx(float(distance), rel=1e-12)  # float64 sums in another order
    split = load_digits_split()
    with torch.no_grad():
        right = (model(split.x_test).argmax(dim=1) == split.y_test).double().mean()
    assert found["", "accuracy_test"] == float(right)


def test_only_the_last_layer_is_fine_tuned_where_only_it_is_pruned(bench):
    bench.carry_out(LAST)
    dense, pruned = tensors(bench, Cell(trial=1)), tensors(bench, LAST)
    assert {name for name in dense if not torch.equal(dense[name], pruned[name])} == {"head.weight", "head.bias"}


def test_the_whole_network_is_fine_tuned_when_the_study_says_so(bench, tiny, tmp_path):
    whole = Bench(msgspec.structs.replace(tiny, finetune="network"), tmp_path)
    whole.carry_out(Cell(trial=1))
    whole.carry_out(LAST)
    dense, pruned = tensors(whole, Cell(trial=1)), tensors(whole, LAST)
    assert {name for name in dense if torch.equal(dense[name], pruned[name])} == set()


def test_a_cell_gives_the_same_numbers_whatever_came_before(bench, tiny, tmp_path):
    fresh = Bench(tiny, tmp_path)
    assert fresh.carry_out(Cell(trial=1)) == bench.carry_out(Cell(trial=1))
    first = fresh.carry_out(ALL)
    torch.manual_seed(99)
    bench.carry_out(LAST)
    assert bench.carry_out(ALL) == first
    assert all(
        torch.equal(a, b) for a, b in zip(tensors(bench, ALL).values(), tensors(fresh, ALL).values(), strict=True)
    )


def _removed(bench: Bench, trial: int, level: float) -> torch.Tensor:
    cell = Cell(trial=trial, scope="last", method="random", level=level)
    bench.carry_out(cell)
    return tensors(bench, cell)["head.weight"] == 0


@pytest.mark.parametrize(("random_masks", "same"), [("trial", False), ("fixed", True)])
def test_random_masks_grow_with_the_level_and_differ_by_trial_unless_fixed(tiny, tmp_path, random_masks, same):
    study = msgspec.structs.replace(tiny, trials=2, random_masks=random_masks)
    two = Bench(study, tmp_path)
    for cell in dense_cells(study):
        two.carry_out(cell)
    few, many, other = _removed(two, 1, 0.3), _removed(two, 1, 0.8), _removed(two, 2, 0.3)
    assert bool((few & ~many).any()) is False
    assert torch.equal(few, other) is same


def test_trials_differ_in_initialisation_and_order(tiny, tmp_path):
    two = Bench(msgspec.structs.replace(tiny, trials=2), tmp_path)
    records = [two.carry_out(cell) for cell in dense_cells(two.study)]
    assert records[0] != records[1]


def test_a_choice_of_training_samples_is_measured_and_all_are_trained_on(bench, tiny, tmp_path):
    some = Bench(msgspec.structs.replace(tiny, evaluated_samples=300), tmp_path)
    found, everything = (values(b.carry_out(Cell(trial=1)), 0) for b in (some, bench))
    assert all(
        torch.equal(tensor, tensors(bench, Cell(trial=1))[name])
        for name, tensor in tensors(some, Cell(trial=1)).items()
    )
    split = load_digits_split()
    drawn = torch.randperm(len(split.y_train), generator=torch.Generator().manual_seed(0))[:300]
    model = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    with torch.no_grad():
        logits = model(split.x_train[drawn]).double()
    loss = torch.nn.functional.cross_entropy(logits, split.y_train[drawn])
    assert found["", "accuracy_train"] == float((logits.argmax(dim=1) == split.y_train[drawn]).double().mean())
    # Another order of the samples: logits of float32 differ by their rounding.
    assert found["", "loss_train"] == pytest.approx(float(loss), rel=1e-5)
    assert found["", "loss_train"] != everything["", "loss_train"]
    assert found["", "loss_test"] == everything["", "loss_test"]  # held-out samples are all measured


def test_the_best_epoch_is_kept_when_asked_for(tiny, tmp_path):
    # At this learning rate accuracy goes up and down, and the last of the epochs is not the best.
    wild = Training(epochs=3, batch_size=32, learning_rate=0.5, schedule="constant")
    study = msgspec.structs.replace(tiny, training=wild)
    accuracies = {}
    for reference in ("last", "best"):
        one = Bench(msgspec.structs.replace(study, dense_reference=reference), tmp_path / reference)
        accuracies[reference] = values(one.carry_out(Cell(trial=1)), 0)["", "accuracy_test"]
    curve = []
    for epochs in (1, 2, 3):
        shorter = msgspec.structs.replace(study, training=msgspec.structs.replace(wild, epochs=epochs))
        one = Bench(shorter, tmp_path / str(epochs))
        curve.append(values(one.carry_out(Cell(trial=1)), 0)["", "accuracy_test"])
    assert accuracies["last"] == curve[-1] < max(curve) == accuracies["best"]


def test_a_dense_network_that_is_not_good_enough_stops_the_study(tiny, tmp_path):
    strict = Bench(msgspec.structs.replace(tiny, minimum_accuracy=1.0), tmp_path)
    with pytest.raises(
        StudyError,
        match=r"dense network of trial 1 has \d+\.\d % accuracy on held-out data, below the 100 % .*train longer",
    ):
        strict.carry_out(Cell(trial=1))
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_came_back_stops_the_study():
    model = DigitsNet()
    mask = prune(model, MagnitudePruning(level=0.5))
    require_zeros(model, mask, "cell")
    with torch.no_grad():
        model.head.weight[~mask["head.weight"]] = 1.0
    with pytest.raises(StudyError, match=r"cell: mask drift: 320 of 1238 removed weights are not zero"):
        require_zeros(model, mask, "cell")


def test_a_zero_that_the_mask_does_not_explain_stops_the_study():
    model = DigitsNet()
    mask = Mask({"head.weight": torch.ones(10, 64, dtype=torch.bool)})
    with torch.no_grad():
        model.head.weight[0, :2] = 0.0
    with pytest.raises(StudyError, match="cell: 2 weights are zero, but the mask removes 0; has training died"):
        require_zeros(model, mask, "cell")


def test_the_demos_network_reaches_97_percent(tmp_path):
    one = Bench(DEMO, tmp_path)
    accuracy = values(one.carry_out(Cell(trial=1)), 0)["", "accuracy_test"]
    assert accuracy is not None
    assert accuracy >= 0.97
    assert DEMO.minimum_accuracy == 0.97


def test_cells_say_what_they_are():
    assert [str(cell) for cell in (Cell(trial=2), LAST, ALL)] == [
        "trial 2, dense",
        "trial 1, last layer, lowest 80 %",
        "trial 1, all layers, random 30 %",
    ]


def test_a_study_type_checks_its_methods():
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'biggest'"):
        msgspec.convert(msgspec.to_builtins(DEMO) | {"methods": ["biggest"]}, Study)
