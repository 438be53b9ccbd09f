"""The released code's "AP3" of a non-diagonal Gaussian, against its definition in full matrices."""

import msgspec
import numpy as np
import pytest
import torch

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.records import NETWORK, Cell, Record
from shrinkscope.experiments.released import METRIC, released_records
from shrinkscope.experiments.study import Bench
from shrinkscope.weights import open_weights

LAYERS = ("conv1.weight", "conv2.weight", "head.weight")


def released(delta: np.ndarray) -> float:
    """√(ΔᵀΣ⁻¹Δ), Σ = βVΛVᵀ with V orthogonal and drawn at random, all eigenvalues 0.01 and β = 0.1/√d."""
    size = delta.size
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))
    covariance = 0.1 / np.sqrt(size) * rotation @ np.diag(np.full(size, 0.01)) @ rotation.T
    return float(np.sqrt(delta @ np.linalg.solve(covariance, delta)))


@pytest.fixture(scope="module")
def carried_out(tiny, tmp_path_factory) -> tuple[Study, list[Record], dict[str, np.ndarray]]:
    """A cell whose every layer is pruned and fine-tuned, and its weights less those of the dense network."""
    study = msgspec.structs.replace(tiny, released_gaussian=True, iterations=False)
    bench = Bench(study, tmp_path_factory.mktemp("networks"))
    cells = Cell(trial=1), Cell(trial=1, scope="all", method="lowest", level=0.8)
    found = [bench.carry_out(cell) for cell in cells][1]
    dense, after = (load_network_file(bench.network_path(cell), "digits").state_dict() for cell in cells)
    return study, found, {name: (dense[name].double() - after[name].double()).numpy().ravel() for name in LAYERS}


def test_every_layer_and_the_network_have_it_at_every_epoch(carried_out):
    study, records, deltas = carried_out
    found = [record for record in records if record.metric == METRIC]
    epochs = range(study.finetuning.epochs + 1)
    assert {(r.epoch, r.layer) for r in found} == {(e, layer) for e in epochs for layer in (*LAYERS, NETWORK)}
    assert {(r.unit, r.status) for r in found} == {("standard deviations", "exact")}
    last = {r.layer: r.value for r in found if r.epoch == study.finetuning.epochs}
    for layer, delta in deltas.items():
        # Solving 1,728 equations, well conditioned: 1e-12 would do. A difference rounded to float32 would not.
        assert last[layer] == pytest.approx(released(delta), rel=1e-11)
    everything = np.concatenate(list(deltas.values()))
    # For all 2,476 together the rotation is of no account: the formula with Σ a multiple of the identity.
    expected = np.sqrt(np.square(everything).sum() * np.sqrt(everything.size) / (0.1 * 0.01))
    assert last[NETWORK] == pytest.approx(expected, rel=1e-11)


def test_it_is_ap2_in_disguise(carried_out):
    _, records, _ = carried_out
    by_layer = {layer: [] for layer in LAYERS}
    squares = {(r.epoch, r.layer): r.value for r in records if r.metric == "ap2"}
    for record in records:
        if record.metric == METRIC and record.layer in by_layer:
            by_layer[record.layer].append(record.value / np.sqrt(squares[record.epoch, record.layer]))
    for ratios in by_layer.values():
        assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-12)


def test_what_ap2_could_not_measure_it_cannot_either():
    weights = open_weights({"fc.weight": torch.ones(2, 2)})
    missing = Record(
        epoch=0, layer="fc.weight", metric="ap2", value=None, unit="weight²", status="exact", reason="NaN in the layer"
    )
    (found,) = released_records([missing], weights)
    assert (found.metric, found.value, found.reason) == (METRIC, None, "NaN in the layer")


def test_a_study_that_does_not_ask_has_none(tiny, tmp_path):
    bench = Bench(msgspec.structs.replace(tiny, iterations=False), tmp_path)
    bench.carry_out(Cell(trial=1))
    records = bench.carry_out(Cell(trial=1, scope="last", method="lowest", level=0.8))
    assert METRIC not in {record.metric for record in records}
