"""The page of a made-up study: its numbers are those of the claims, and its answers follow from them."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from shrinkscope.experiments.claims import claims
from shrinkscope.experiments.records import Run
from shrinkscope.report.format import number
from shrinkscope.report.reproduction import PDS, reproduction_page

METHODS, LEVELS, TRIALS, EPOCHS = ("lowest", "random", "highest"), (0.3, 0.5, 0.8), (1, 2, 3), (0, 1)
CONFIG = {
    "name": "made-up",
    "network": "resnet20",
    "weights": "w.npz",
    "head": "new",
    "finetune": "scope",
    "scopes": ["last"],
    "training": None,
    "finetuning": {"epochs": 1},
    "data": {"kind": "arrays", "train": "cifar10_jpeg_60000.npz", "train_samples": 1000, "test_samples": None},
}


def records_of(predictive_is_pd: bool) -> pd.DataFrame:
    """AP2 is noise, every AP3 is AP2, and the predictive latent orders networks perfectly or is noise too."""
    rng, rows = np.random.default_rng(3), []
    for trial, epoch, method, level in itertools.product(TRIALS, EPOCHS, METHODS, LEVELS):
        harm, noise, other = rng.lognormal(size=3)
        values = {"ap2": noise, "ap3_student_t_grouped": noise, "ap3_predictive": harm if predictive_is_pd else other}
        values |= dict.fromkeys((*PDS, "pd_loss_train"), harm)
        cell = {"run": "r", "trial": trial, "scope": "last", "method": method, "level": level, "epoch": epoch}
        rows += [cell | {"layer": "", "metric": n, "value": v, "standard_error": 0.0} for n, v in values.items()]
    dense = {"run": "r", "trial": 1, "scope": "all", "method": "dense", "level": 0.0, "epoch": 0, "layer": ""}
    return pd.DataFrame([*rows, dense | {"metric": "accuracy_test", "value": 0.915, "standard_error": 0.0}])


@pytest.fixture(scope="module")
def run() -> Run:
    text = json.dumps(CONFIG)
    return Run(run="r", config_hash="h", config=text, versions="{}", seed=1, hardware="here", started="2026")


@pytest.mark.parametrize("perfect", [True, False])
def test_the_answers_follow_from_the_numbers(run, perfect):
    records = records_of(perfect)
    page = reproduction_page([run], records, "# Head", {"made-up": "![picture](a.png)"})
    assert page.startswith("# Head\n\n## What was run")
    assert page.endswith("![picture](a.png)\n")
    assert (
        "| `made-up` | ResNet-20, new last layer, trained on features | CIFAR10 JPEG: 1,000 and all | last layer "
        "(alone fine-tuned) | 0 + 1 | 91.5 % | `r` |"
    ) in page
    paper, predictive = page.partition("### Does the predictive latent?")[::2]
    assert "comparison: **No.** Of 2 comparisons" in paper
    assert "in 2 both order all pairs alike" in paper
    found = predictive.partition("###")[0]
    assert ("comparison: **Yes.**" in found) == perfect
    (test,) = [
        t for t in claims(records, PDS).tests if (t.first, t.pd, t.epoch) == ("ap3_predictive", PDS[0], EPOCHS[-1])
    ]
    assert test.over_cells.difference is not None
    assert f"| {number(test.over_cells.difference, 2)} [{number(test.over_cells.lower, 2)}, " in found
    assert "AP3 Student-t, grouped 0 and 0" not in page  # measures that never differ from AP2 are not counted
