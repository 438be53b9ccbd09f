"""The cells of a study carried out together, against the same cells one by one; kills at any moment; refusals."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest
import torch

from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays
from shrinkscope.experiments.grid import dense_cells, pruned_cells
from shrinkscope.experiments.heads import FeaturesError, carry_out_together, goes_together
from shrinkscope.experiments.heads.trial import trial_features
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.study import Bench, StudyError

STUDY = Study(
    name="heads",
    training=Training(epochs=2, learning_rate=0.1),
    finetuning=Training(epochs=3, learning_rate=0.05, weight_decay=5e-3),
    trials=2,
    methods=("lowest", "random"),
    levels=(0.3, 0.8),
    latents=("gaussian", "gaussian_rotated_grouped", "student_t", "student_t_grouped"),
    path="features",
    released_gaussian=True,
    evaluated_samples=300,
    predictive_samples=200,
)


def bench_of(study: Study, folder: Path) -> Bench:
    return Bench(study, folder / "networks" / "run")


def together(bench: Bench, cells: list[Cell]) -> dict[Cell, list[Record]]:
    found: dict[Cell, list[Record]] = {}
    carry_out_together(bench, cells, found.__setitem__)
    return found


def assert_same_rows(found: list[Record], expected: list[Record]) -> None:
    assert len(found) == len(expected)
    for got, right in zip(found, expected, strict=True):
        for field in ("epoch", "layer", "metric", "unit", "status", "reason"):
            assert getattr(got, field) == getattr(right, field)
        for field in ("value", "standard_error"):
            value = getattr(right, field)
            # Twelve float32 steps a epoch: weights differ by some 1e-6 of themselves. ε_t and PD are differences of
            # larger numbers, so that their last digits are lost: 1e-5 of a number of order 1.
            assert getattr(got, field) == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-5))


@pytest.fixture(scope="module")
def dense_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    bench = bench_of(STUDY, folder)
    for cell in dense_cells(STUDY):
        bench.carry_out(cell)
    return folder


def test_figures_and_claims_see_no_difference(dense_folder):
    bench = bench_of(STUDY, dense_folder)
    cells = pruned_cells(STUDY)
    assert all(goes_together(bench, cell) for cell in cells)
    assert not any(goes_together(bench, cell) for cell in dense_cells(STUDY))
    expected, networks = {}, {}
    for cell in cells:
        expected[cell] = bench.carry_out(cell)
        networks[cell] = load_network_file(bench.network_path(cell), "digits").state_dict()
        bench.network_path(cell).unlink()
    found = together(bench, cells)
    assert list(found) == cells
    for cell in cells:
        assert_same_rows(found[cell], expected[cell])
        state = load_network_file(bench.network_path(cell), "digits").state_dict()
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, networks[cell][name], rtol=1e-4, atol=1e-6)
            assert name.startswith("head.") or torch.equal(tensor, networks[cell][name])
    assert not list(bench.folder.glob("heads-*"))


@pytest.mark.parametrize("choice", ["best", "last"])
def test_dense_networks_whose_last_layer_alone_is_trained_go_together_too(tmp_path, choice):
    study = msgspec.structs.replace(STUDY, trained="last", dense_reference=choice)
    cells = dense_cells(study)
    slow, fast = bench_of(study, tmp_path / "slow"), bench_of(study, tmp_path / "fast")
    assert all(goes_together(fast, cell) for cell in cells)
    found = together(fast, cells)
    for cell in cells:
        assert_same_rows(found[cell], slow.carry_out(cell))
        states = [load_network_file(b.network_path(cell), "digits").state_dict() for b in (fast, slow)]
        for name in states[0]:
            torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-4, atol=1e-6)


def test_networks_that_are_used_as_they_are_go_together(tmp_path, dense_folder):
    weights = str(bench_of(STUDY, dense_folder).network_path(Cell(trial=1)))
    study = msgspec.structs.replace(STUDY, training=None, weights=weights, trials=1)
    slow, fast = bench_of(study, tmp_path / "slow"), bench_of(study, tmp_path / "fast")
    assert goes_together(fast, Cell(trial=1))
    found = together(fast, dense_cells(study))
    assert_same_rows(found[Cell(trial=1)], slow.carry_out(Cell(trial=1)))


def test_trials_with_other_numbers_of_cells_are_trained_too(dense_folder):
    cells = pruned_cells(STUDY)
    bench = bench_of(STUDY, dense_folder)
    whole = together(bench, cells)
    some = [cells[0], cells[1], cells[-1]]  # two of the first trial, one of the second
    for cell, records in together(bench, some).items():
        assert_same_rows(records, whole[cell])


_KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    import msgspec
    import torch
    from shrinkscope.experiments.config import Study
    from shrinkscope.experiments.heads import carry_out_together
    from shrinkscope.experiments.records import Record
    from shrinkscope.experiments.grid import pruned_cells
    from shrinkscope.experiments.study import Bench
    torch.set_num_threads(1)
    folder, draw = Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    study = msgspec.json.decode(sys.argv[1], type=Study)

    def carry_out():
        def keep(cell, records):
            (folder / "part").write_bytes(msgspec.json.encode(records))
            (folder / "part").rename(folder / str(cell))
        left = [cell for cell in pruned_cells(study) if not (folder / str(cell)).exists()]
        carry_out_together(Bench(study, folder / "networks" / "run"), left, keep)

    kills, longest = 0, 0.2
    while True:
        child = os.fork()
        if child == 0:
            carry_out()
            os._exit(0)
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            break
        kills, longest = kills + 1, 1.2 * longest
    print(kills, os.WEXITSTATUS(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_at_random_times_the_same_command_goes_on_to_the_same_numbers(dense_folder, tmp_path):
    changes = {"trials": 1, "levels": (0.3,), "latents": ("gaussian",)}
    study = msgspec.structs.replace(STUDY, finetuning=Training(epochs=6, learning_rate=0.05), **changes)
    killed, whole = bench_of(study, tmp_path / "killed"), bench_of(study, tmp_path / "whole")
    for bench in (killed, whole):
        shutil.copytree(bench_of(STUDY, dense_folder).folder, bench.folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    seed = str(time.time_ns())
    words = [textwrap.dedent(_KILLED), msgspec.json.encode(study).decode(), str(tmp_path / "killed"), seed]
    found = subprocess.run([sys.executable, "-c", *words], env=environment, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
    kills, code = map(int, found.stdout.split())
    # Delays grow from a fifth of a second, in which no process can do everything.
    assert (kills > 0, code) == (True, 0), f"seed {seed}"
    for cell, records in together(whole, pruned_cells(study)).items():
        kept = (tmp_path / "killed" / str(cell)).read_bytes()
        assert msgspec.json.decode(kept, type=list[Record]) == records, f"seed {seed}"
        assert killed.network_path(cell).read_bytes() == whole.network_path(cell).read_bytes(), f"seed {seed}"


def test_cells_that_are_left_are_finished_with_what_the_others_were_trained_with(dense_folder):
    bench = bench_of(STUDY, dense_folder)
    cells = pruned_cells(STUDY)
    expected = together(bench, cells)

    found: dict[Cell, list[Record]] = {}

    def stop(cell: Cell, records: list[Record]) -> None:
        if len(found) == 3:
            raise KeyboardInterrupt
        found[cell] = records

    with pytest.raises(KeyboardInterrupt):
        carry_out_together(bench, cells, stop)
    left = [cell for cell in cells if cell not in found]
    assert found | together(bench, left) == expected


def test_a_dense_network_that_is_not_good_enough_stops_the_study(tmp_path):
    study = msgspec.structs.replace(STUDY, trained="last", minimum_accuracy=1.0)
    with pytest.raises(StudyError, match=r"the dense network of trial 1 has .* % accuracy on held-out data"):
        together(bench_of(study, tmp_path), dense_cells(study))


def test_which_cells_go_together_is_the_studys_choice(tmp_path):
    last, everything = (
        Cell(trial=1, scope="last", method="lowest", level=0.3),
        Cell(trial=1, method="lowest", level=0.3),
    )

    def goes(cell: Cell = last, **changes: object) -> bool:
        return goes_together(bench_of(msgspec.structs.replace(STUDY, **changes), tmp_path), cell)

    assert goes()
    assert not goes(path="whole")
    assert not goes(path="auto")  # the digits are no images
    assert not goes(path="auto", scopes=("all",), cell=everything)
    assert not goes(path="auto", finetune="biases", data=Arrays(root=str(tmp_path), train="images.npz"))
    with pytest.raises(FeaturesError, match=r"conv2\.weight is pruned, but the network ends in head"):
        goes(last="conv2.weight")


def test_measured_samples_that_are_others_than_those_of_the_features_are_refused(dense_folder, tmp_path):
    bench = bench_of(STUDY, dense_folder)
    bench.__dict__["measured"] = bench.measured._replace(y_train=bench.measured.y_train.flip(0))
    with pytest.raises(FeaturesError, match="other training samples are measured than their features were chosen for"):
        trial_features(bench, bench.starting(1), tmp_path, None)
