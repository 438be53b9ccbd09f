"""What is said of AP3 over methods and levels together follows from the studies, for every outcome."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from shrinkscope.experiments.pooled import pooled
from shrinkscope.experiments.records import Run
from shrinkscope.report.format import number
from shrinkscope.report.reproduced import Reproduced, reproduced
from shrinkscope.report.together import advantages, together

PDS = ("pd_accuracy_test", "pd_loss_test")
METHODS, LEVELS = ("lowest", "random", "highest"), (0.3, 0.8)


def study(number_of: int, noise: float, other: float) -> Reproduced:
    """AP2 is the harm with so much noise, the predictive latent with so much."""
    draw, rows = np.random.default_rng(number_of), []
    for trial, method, level in itertools.product((1, 2, 3), METHODS, LEVELS):
        harm = draw.lognormal()
        ap2, predictive = (float(np.exp(np.log(harm) + sigma * draw.normal())) for sigma in (noise, other))
        values = {"ap2": ap2, "ap3_predictive": predictive, **dict.fromkeys(PDS, harm)}
        cell = {"run": "r", "trial": trial, "scope": "last", "method": method, "level": level, "epoch": 1, "layer": ""}
        rows += [cell | {"metric": name, "value": value, "standard_error": 0.0} for name, value in values.items()]
    config = json.dumps({"name": f"study-{number_of}"})
    run = Run(run="r", config_hash="h", config=config, versions="{}", seed=1, hardware="here", started="2026")
    return reproduced(run, pd.DataFrame(rows), PDS)


@pytest.mark.parametrize(
    ("count", "noise", "other", "said"),
    [
        (6, 3.0, 0.1, "**AP3 predictive adds to AP2.** AP3 predictive: better than AP2 on"),
        (2, 3.0, 0.1, "adds to AP2 in these studies, which are too few to tell whether it would in others.**"),
        (6, 0.1, 3.0, "**AP3 predictive does not add to AP2 dependably.** AP3 predictive: worse than AP2 on"),
        (6, 1.0, 1.0, "**AP3 predictive is not told apart from AP2.** AP3 predictive: not told apart from AP2 on"),
    ],
)
def test_the_answer_follows_from_the_intervals(count, noise, other, said):
    found = [study(place, noise, other) for place in range(count)]
    question, answer = advantages(found)
    assert question == "And over methods and levels together?"
    assert said in answer
    expected = pooled([cases for one in found for cases in one.cases()], "ap3_predictive", "ap2", PDS[0])
    assert expected is not None
    pair = expected.over_trials
    numbers = f"{number(pair.difference, 2)} [{number(pair.lower, 2)}, {number(pair.upper, 2)}]"
    assert f"{numbers} over {3 * count} trials" in answer
    page = "\n".join(together(found))
    assert numbers in page
    assert all(f"| `study-{place}` | PD in loss, held-out |" in page for place in range(count))


def test_one_study_has_its_range_and_why():
    _, answer = advantages([study(0, 3.0, 0.1)])
    assert "no interval: 3 clusters are too few for one of 95 %" in answer
    assert " to " in answer
    assert "is not told apart" in answer


def test_without_an_ap3_there_is_no_answer():
    found = study(0, 1.0, 1.0)
    records = found.records.loc[found.records["metric"] != "ap3_predictive"]
    assert advantages([reproduced(found.run, records, PDS)])[1].startswith("Not measured: no study recorded AP2 beside")
