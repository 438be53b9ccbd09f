"""The predictive latent of a study against SciPy, on the networks and samples that the study kept."""

import math

import msgspec
import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from shrinkscope.experiments.digits import load_digits_split
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.predictive import METRIC, logits_record
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.study import Bench

SAMPLES = 150


def test_a_study_records_how_far_predictions_moved(tiny, tmp_path):
    study = msgspec.structs.replace(tiny, scopes=("all",), predictive_samples=SAMPLES, path="whole", iterations=False)
    bench = Bench(study, tmp_path)
    cell = Cell(trial=1, scope="all", method="lowest", level=0.8)
    bench.carry_out(Cell(trial=1))
    records = [record for record in bench.carry_out(cell) if record.metric == METRIC]
    assert [(record.epoch, record.layer, record.unit, record.status) for record in records] == [
        (epoch, "", "nats", "estimate") for epoch in (0, 1, 2)
    ]

    # The documented choice of samples, without their targets, and the definition in float64.
    split = load_digits_split()
    drawn = torch.randperm(len(split.y_train), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    logs = []
    for kept in (Cell(trial=1), cell):
        model = load_network_file(bench.network_path(kept), "digits").eval()
        with torch.no_grad():
            logs.append(log_softmax(model(split.x_train[drawn]).double().numpy(), axis=1))
    divergences = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1)
    # Float32 logits in another order of samples and batches: some 1e-6 of numbers of order 1.
    assert records[-1].value == pytest.approx(divergences.mean(), rel=1e-4)
    assert records[-1].standard_error == pytest.approx(divergences.std(ddof=1) / math.sqrt(SAMPLES), rel=1e-4)


def test_a_study_that_does_not_ask_has_none(tiny, tmp_path):
    bench = Bench(msgspec.structs.replace(tiny, path="whole", iterations=False), tmp_path)
    assert bench.unlabelled is None
    bench.carry_out(Cell(trial=1))
    found = bench.carry_out(Cell(trial=1, scope="last", method="random", level=0.3))
    assert METRIC not in {record.metric for record in found}


def test_a_network_that_predicts_nothing_has_a_reason():
    dense = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    broken = dense.clone()
    broken[2, 1] = math.nan
    record = logits_record(dense, broken, epoch=4)
    assert (record.epoch, record.value, record.standard_error) == (4, None, None)
    assert "compressed returned NaN or infinite logits for 1 of the inputs" in (record.reason or "")
