"""Prediction of performance differences: the interval against a direct jackknife+, its coverage, what is refused."""

import copy
import itertools
import math
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from torch.nn.functional import cross_entropy

from shrinkscope import MagnitudePruning, RandomPruning, UniformQuantisation, compress
from shrinkscope.analysis.prediction import Calibration, calibrate
from shrinkscope.errors import DataError
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.train import train
from shrinkscope.performance import PredictionTally

MEASURED = 16
CALIBRATIONS = 400


def noisy(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rung values over three orders of magnitude, and differences whose error grows with them."""
    x = np.exp(generator.uniform(-5, 2, count))
    return x, x**0.8 * np.exp(0.4 * generator.standard_normal(count))


def reference_interval(x: np.ndarray, y: np.ndarray, new: float, confidence: float) -> tuple[float, float]:
    """Jackknife+ as its definition has it, fold by fold, with scikit-learn's isotonic regression."""
    inner = [i for i in range(len(x)) if min(x) < x[i] < max(x)]
    lows, highs = [], []
    for i in inner:
        keep = [j for j in range(len(x)) if j != i]
        middle = np.median(x[keep])
        curve = IsotonicRegression(out_of_bounds="clip").fit(np.log1p(x[keep] / middle), y[keep])
        bottom, top = curve.y_thresholds_.min(), curve.y_thresholds_.max()

        def at(value: float, curve=curve, middle=middle) -> float:
            return float(curve.predict([math.log1p(value / middle)])[0])

        def spread(value: float, at=at, bottom=bottom, top=top) -> float:
            return at(value) - bottom + 0.05 * (top - bottom)

        error = abs(y[i] - at(x[i])) / spread(x[i])
        lows.append(at(new) - error * spread(new))
        highs.append(at(new) + error * spread(new))
    rank = math.ceil(round(confidence * (len(inner) + 1), 9))
    return sorted(lows, reverse=True)[rank - 1], sorted(highs)[rank - 1]


@pytest.mark.parametrize("confidence", [0.9, 0.75, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_jackknife_plus(seed, confidence):
    generator = np.random.default_rng(seed)
    x, y = noisy(MEASURED, generator)
    calibration = calibrate(x, y, confidence=confidence)
    for new in np.quantile(x, [0.1, 0.5, 0.8]):
        found = calibration.predict(new)
        low, high = reference_interval(x, y, float(new), confidence)
        # Two implementations of the same least squares in float64.
        assert (found.lower, found.upper) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
        assert found.lower <= found.value <= found.upper
        assert (found.in_range, found.reason, found.status, found.unit) == (True, None, "estimate", "nats")


@given(seed=st.integers(0, 10_000))
def test_predictions_are_monotone_and_units_do_not_matter(seed):
    x, y = noisy(MEASURED, np.random.default_rng(seed))
    new = np.linspace(x.min(), x.max(), 7)
    found = calibrate(x, y).predict_all(new)
    values = [prediction.value for prediction in found]
    # Rounding: the curve is an interpolation of rising heights.
    assert all(b >= a - 1e-12 * abs(a) for a, b in itertools.pairwise(values))
    scaled = calibrate(1000 * x, 3 * y).predict_all(1000 * new)
    for a, b in zip(found, scaled, strict=True):
        # Interpolation next to a point may cancel up to a few digits of the largest height.
        tolerance = 1e-9 * y.max()
        assert b.lower == pytest.approx(3 * a.lower, abs=tolerance)
        assert b.value == pytest.approx(3 * a.value, abs=tolerance)
        assert b.upper == pytest.approx(3 * a.upper, abs=tolerance)


def test_falling_measures_are_mirrored():
    x, y = noisy(MEASURED, np.random.default_rng(0))
    up, down = calibrate(x, y).predict(1.0), calibrate(x, -y, direction="falling", unit="fraction").predict(1.0)
    assert (down.value, down.lower, down.upper) == (-up.value, -up.upper, -up.lower)
    assert down.unit == "fraction"


def test_out_of_range_is_no_number():
    x, y = noisy(MEASURED, np.random.default_rng(0))
    calibration = calibrate(x, y, rungs=["predictive KL"])
    for new, side in ((x.max() * 1.01, "above"), (x.min() * 0.99, "below")):
        found = calibration.predict(new)
        assert (found.value, found.lower, found.upper, found.in_range) == (None, None, None, False)
        assert found.reason is not None
        assert found.reason.startswith(f"predictive KL = {new:.4g} lies {side} the calibrated {x.min():.4g} to ")
    assert calibration.predict(x.max()).in_range


def test_several_rungs_are_one_product_with_the_weights():
    generator = np.random.default_rng(1)
    x, y = noisy(MEASURED, generator)
    other = np.exp(generator.uniform(-1, 1, MEASURED))
    both = calibrate(np.column_stack([x, other]), y, weights=[1.0, 0.0], confidence=0.8)
    alone = calibrate(x, y, confidence=0.8)
    middle = [float(np.median(x)), float(np.median(other))]
    assert both.predict(middle).value == pytest.approx(alone.predict(middle[0]).value, rel=1e-12)
    # Each rung has its own range, whatever its weight.
    assert both.predict([middle[0], 10.0]).reason.startswith("rung 2 = 10 lies above")
    corner = calibrate(np.column_stack([x, x.sum() - x]), y).predict([x.max(), (x.sum() - x).max()])
    assert corner.reason.startswith("the product of the rungs = ")


def test_a_calibration_is_a_value():
    x, y = noisy(MEASURED, np.random.default_rng(2))
    calibration = calibrate(x, y)
    again = msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration)
    assert again == calibration
    assert again.predict(1.0) == calibration.predict(1.0)
    assert (calibration.inner, calibration.guarantee, calibration.expected) == (14, pytest.approx(0.8), 14 / 15)


def test_ties_and_zeros_are_ordinary():
    x = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7.0])
    found = calibrate(x, x).predict_all([0.0, 1.0, 7.0])
    assert [prediction.value for prediction in found] == pytest.approx([0.0, 1.0, 7.0], abs=1e-12)
    flat = calibrate(x, np.full(16, 2.0)).predict(1.0)
    assert (flat.lower, flat.value, flat.upper) == (2.0, 2.0, 2.0)


@cache
def configurations() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """300 random per-layer configurations of the digits network: predictive KL on 64 inputs, Δloss, Δaccuracy."""
    torch.manual_seed(0)
    split, dense = load_digits_split(), DigitsNet()
    train(dense, split.train, Training(epochs=8), torch.Generator().manual_seed(0))
    inputs = split.x_train[:64]
    generator = torch.Generator().manual_seed(1)
    choices = np.random.default_rng(1)
    rows = []
    with torch.no_grad():
        seen, held_out = dense(inputs), dense(split.x_test)
        for _ in range(300):
            network = copy.deepcopy(dense)
            for layer in ("conv1.weight", "conv2.weight", "head.weight"):
                compress(network, random_method(layer, choices), generator=generator)
            after = network(split.x_test)
            tally = PredictionTally()
            tally.add(seen, network(inputs))
            rows.append(
                (
                    float(tally.predictions().kl.mean()),
                    float(cross_entropy(after, split.y_test) - cross_entropy(held_out, split.y_test)),
                    float(hits(after, split.y_test) - hits(held_out, split.y_test)),
                )
            )
    kl, loss, accuracy = np.array(rows).T
    return kl, loss, accuracy


def random_method(layer: str, choices: np.random.Generator):
    kind, level = choices.integers(3), float(choices.uniform(0, 0.8))
    if kind == 0:
        return UniformQuantisation(bits=int(choices.integers(2, 9)), layers=(layer,))
    return (MagnitudePruning if kind == 1 else RandomPruning)(level=level, layers=(layer,))


def hits(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(dim=1) == labels).double().mean()


def coverage(kl: np.ndarray, differences: np.ndarray, direction) -> tuple[float, float, float, float]:
    """Of held-out configurations: share in range whose interval holds, its standard error, share in range, width."""
    choices = np.random.default_rng(2)
    shares, answered, widths = [], [], []
    for _ in range(CALIBRATIONS):
        order = choices.permutation(len(kl))
        known, new = order[:MEASURED], order[MEASURED:]
        found = calibrate(kl[known], differences[known], direction=direction).predict_all(kl[new])
        inside = [p.lower <= d <= p.upper for p, d in zip(found, differences[new], strict=True) if p.in_range]
        shares.append(float(np.mean(inside)))
        answered.append(len(inside) / len(new))
        widths.append(np.median([p.upper - p.lower for p in found if p.in_range]))
    error = float(np.std(shares, ddof=1) / math.sqrt(CALIBRATIONS))
    return float(np.mean(shares)), error, float(np.mean(answered)), float(np.median(widths))


@pytest.mark.parametrize(("column", "direction"), [(1, "rising"), (2, "falling")])
def test_ninety_percent_intervals_cover_on_a_network(column, direction):
    kl, differences = configurations()[0], configurations()[column]
    mean, error, answered, width = coverage(kl, differences, direction)
    # Expected is 14/15 = 0.933 (14 of the 16 are between the ends); the standard error is 0.0036, so that 0.95 is more
    # than 4 of them away: by chance alone a right interval fails once in 30,000 choices of the seed.
    assert error < 0.004
    assert 0.85 <= mean <= 0.95
    # Of n + 1 values drawn alike, a new one is between the ends of the others with probability (n − 1)/(n + 1).
    assert answered == pytest.approx((MEASURED - 1) / (MEASURED + 1), abs=0.02)
    # An interval that says something: half of them are narrower than two standard deviations of the differences, the
    # width of an interval that covers 68 % without looking at the rung.
    assert width < 2 * np.std(differences)


X, Y = noisy(MEASURED, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("values", "measured", "options", "message"),
    [
        (X, Y, {"confidence": 1.0}, "confidence = 1.0; expected a probability between 0 and 1"),
        (X, Y, {"direction": "up"}, r"direction = 'up'; expected rising \(a loss\) or falling"),
        (X, Y, {"confidence": 0.95}, "16 measured .*, 14 of them between .*; an interval at 95% needs 19 .* 5 more"),
        (X[:10], Y[:10], {}, "10 measured configurations, 8 of them between the ends .* needs 9 .* measure 1 more"),
        ([], [], {}, r"rung values of shape \(0,\) .* each configuration, at least one"),
        (np.ones(16), Y, {}, "rung 1 is 1 in all measured configurations; it tells nothing apart"),
        (np.where(X[3] == X, np.nan, X), Y, {}, r"rung 1 of a measured configuration \(number 3\) is nan; expected"),
        (np.where(X[3] == X, -1, X), Y, {}, r"number 3\) is -1.0; expected a finite number of at least 0"),
        (X, Y[:15], {}, r"16 configurations and measured differences of shape \(15,\); expected one each"),
        (X, np.where(Y[2] == Y, np.inf, Y), {}, "the measured difference of configuration 2 is not finite"),
        (X, Y, {"weights": [-1.0]}, r"weights = \(-1.0,\) for 1 rungs; expected one each, at least 0"),
        (X, Y, {"weights": [1.0, 1.0]}, r"weights = \(1.0, 1.0\) for 1 rungs"),
        (X, Y, {"rungs": ["a", "b"]}, r"rung values of shape \(16,\) for 2 rungs \(a, b\); expected a row for each"),
    ],
)
def test_what_cannot_calibrate_is_refused(values, measured, options, message):
    with pytest.raises(DataError, match=message):
        calibrate(values, measured, **options)


def test_values_that_fit_no_rung_are_refused():
    with pytest.raises(DataError, match=r"rung values of shape \(1, 2\) for 1 rungs"):
        calibrate(X, Y).predict([1.0, 2.0])
    with pytest.raises(DataError, match=r"rung 1 of a configuration \(number 0\) is nan"):
        calibrate(X, Y).predict(math.nan)


@pytest.mark.parametrize(
    ("family", "column", "sign", "direction"),
    [
        ("one layer", "losses", 1, "rising"),
        ("mixed", "drop", -1, "falling"),
        ("total 50%", "drop", -1, "falling"),
        ("total 65%", "losses", 1, "rising"),
    ],
)
def test_ninety_percent_intervals_cover_on_a_residual_network(family, column, sign, direction):
    # What the leaderboard measured: ResNet-20 on CIFAR-10, compressed in hundreds of ways.
    records = pd.read_csv(Path(__file__).parents[2] / "docs" / "leaderboard.csv")
    cases = records[(records["network"] == "resnet20") & (records["family"] == family)]
    assert len(cases) >= 100
    mean, error, answered, _ = coverage(cases["kl_real"].to_numpy(), sign * cases[column].to_numpy(), direction)
    # As above, but one set of cases: what is beyond 0.933 by chance of the cases is not in the standard error.
    assert error < 0.005
    assert 0.85 <= mean <= 0.95
    assert answered > 0.8
