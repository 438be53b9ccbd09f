"""Performance differences: agreement with scipy's bootstrap and with theory, coverage, and what cannot be measured.

Statistical tests use fixed generators; each states its tolerance in standard errors and the failure rate with
another seed.
"""

import json
import math

import msgspec
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import f1_score
from torch import nn

from shrinkscope.errors import DataError
from shrinkscope.performance import (
    Evaluation,
    PerformanceDifference,
    difference_between,
    evaluate,
    metrics,
    performance_difference,
)

# Density of the standard normal at its 97.5 % point: the Monte Carlo error of a percentile end is
# sqrt(0.025 * 0.975 / resamples) / DENSITY standard errors of the statistic.
DENSITY = float(stats.norm.pdf(stats.norm.ppf(0.975)))


def end_error(resamples: int) -> float:
    return math.sqrt(0.025 * 0.975 / resamples) / DENSITY


def first_column(outputs, targets):
    return outputs[:, 0]


def macro_f1(outputs, targets):
    return f1_score(targets, outputs.argmax(dim=1), average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]


def correlation(outputs, targets):
    return torch.corrcoef(torch.stack([outputs[:, 0], targets.to(torch.float64)]))[0, 1]


def evaluations(dense, compressed, metric=first_column, targets=None) -> tuple[Evaluation, Evaluation]:
    """Evaluate networks whose outputs are given: the identity on them."""
    aims = torch.zeros(len(dense), dtype=torch.int64) if targets is None else targets
    first, second = (
        evaluate(nn.Identity(), (torch.as_tensor(outputs), aims), {"m": metric}) for outputs in (dense, compressed)
    )
    return first, second


def correlated(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two skewed measurements of each sample that share most of their variance, as losses of two networks do."""
    random = np.random.default_rng(seed)
    shared = random.exponential(3.0, size=(samples, 1))
    return shared, shared + random.exponential(0.3, size=(samples, 1)) - 0.2


def test_the_interval_of_a_mean_agrees_with_scipy():
    dense, compressed = correlated(150, seed=0)
    reference = stats.bootstrap(
        (dense[:, 0], compressed[:, 0]),
        lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    found = difference_between(*evaluations(dense, compressed), resamples=20_000)["m"]
    # Difference of two independent bootstraps: 5 of its standard errors (6e-7 an end); 1.1 for the skew of the density.
    tolerance = 5 * 1.1 * math.sqrt(2) * end_error(20_000) * float(reference.standard_error)
    assert found.lower == pytest.approx(reference.confidence_interval.low, abs=tolerance)
    assert found.upper == pytest.approx(reference.confidence_interval.high, abs=tolerance)
    assert found.difference == pytest.approx(compressed.mean() - dense.mean(), rel=1e-12)  # order of float64 sums


def test_a_scalar_metric_agrees_with_scipy():
    random = np.random.default_rng(2)
    targets = random.integers(0, 100, 120)
    dense = targets + random.normal(0, 20, 120)
    compressed = dense + random.normal(0, 20, 120)

    def statistic(x, y, z):
        return np.corrcoef(y, z)[0, 1] - np.corrcoef(x, z)[0, 1]

    reference = stats.bootstrap(
        (dense, compressed, targets),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    pair = evaluations(dense[:, None], compressed[:, None], correlation, torch.from_numpy(targets))
    found = difference_between(*pair, resamples=2000)["m"]
    tolerance = 5 * 1.1 * math.sqrt(2) * end_error(2000) * float(reference.standard_error)  # as above
    assert found.lower == pytest.approx(reference.confidence_interval.low, abs=tolerance)
    assert found.upper == pytest.approx(reference.confidence_interval.high, abs=tolerance)
    # A standard deviation of 2000 roughly normal values has relative standard error 1/sqrt(4000) = 1.6 %, here twice.
    assert found.standard_error == pytest.approx(reference.standard_error, rel=5 * math.sqrt(2 / 4000))
    assert found.difference == pytest.approx(statistic(dense, compressed, targets), rel=1e-10)


def test_macro_f1_of_scikit_learn_gets_an_interval():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (90,), generator=generator)
    dense = torch.eye(3, dtype=torch.float64)[targets] + 0.5 * torch.randn(90, 3, generator=generator)
    compressed = dense + 1.0 * torch.randn(90, 3, generator=generator)
    found = difference_between(*evaluations(dense, compressed, macro_f1, targets), resamples=200)["m"]
    assert found.compressed == macro_f1(compressed, targets)
    assert found.difference == macro_f1(compressed, targets) - macro_f1(dense, targets)
    assert found.lower is not None
    assert found.upper is not None
    assert found.difference is not None
    assert found.lower < found.difference < found.upper
    # The jackknife estimates the same standard error; both are within a factor of 1.5 at 90 samples and 200 resamples.
    left_out = [
        macro_f1(compressed[keep], targets[keep]) - macro_f1(dense[keep], targets[keep])
        for keep in (torch.arange(90) != sample for sample in range(90))
    ]
    jackknife = math.sqrt(89) * np.std(left_out)
    assert found.standard_error == pytest.approx(jackknife, rel=0.5)


def test_a_mean_as_a_scalar_metric_has_the_analytic_standard_error():
    dense, compressed = correlated(200, seed=4)
    exact = difference_between(*evaluations(dense, compressed), resamples=0)["m"].standard_error
    assert exact is not None
    assert exact == pytest.approx((compressed - dense).std(ddof=1) / math.sqrt(200), rel=1e-12)  # order of sums
    by_resampling = difference_between(
        *evaluations(dense, compressed, lambda outputs, targets: outputs.mean()), resamples=2000
    )["m"].standard_error
    # The bootstrap aims at sqrt(199/200) of it, with relative error 1/sqrt(4000); 5 of those, 6e-7.
    assert by_resampling == pytest.approx(exact * math.sqrt(199 / 200), rel=5 / math.sqrt(4000))


def test_both_paths_use_the_same_resamples():
    dense, compressed = correlated(80, seed=5)
    by_sample = difference_between(*evaluations(dense, compressed), resamples=300)["m"]
    by_scalar = difference_between(*evaluations(dense, compressed, lambda o, t: o.mean()), resamples=300)["m"]
    # Two orders of summing 80 float64 values.
    assert (by_sample.lower, by_sample.upper) == pytest.approx((by_scalar.lower, by_scalar.upper), rel=1e-12)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    samples, populations = 120, 500
    generator = torch.Generator().manual_seed(7)
    random = np.random.default_rng(8)
    covered = 0
    for _ in range(populations):
        shared = random.normal(0, 1.0, size=(samples, 1))
        pair = evaluations(shared, shared + 0.05 + random.normal(0, 0.1, size=(samples, 1)))
        found = difference_between(*pair, resamples=400, generator=generator)["m"]
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= 0.05 <= found.upper
    # For normal differences the percentile interval is mean -+ 1.96 s sqrt((n-1)/n)/sqrt(n), up to the error of 400
    # resamples, which at worst loses the coverage between the 2.5 % point and one step of 1/400.
    expected = 1 - 2 * stats.t.sf(stats.norm.ppf(0.975) * math.sqrt((samples - 1) / samples), samples - 1)
    # 4 standard errors of a binomial fraction (6e-5 with another seed) and 1/400. An unpaired bootstrap, whose interval
    # would be 14 times as wide, covers always, which is outside.
    tolerance = 4 * math.sqrt(0.05 * 0.95 / populations) + 1 / 400
    assert expected + tolerance < 1.0
    assert covered / populations == pytest.approx(expected, abs=tolerance)


def test_definition_2_8_and_the_sign():
    worse = difference_between(*evaluations(np.array([[1.0], [3.0]]), np.array([[4.0], [5.0]])), resamples=0)["m"]
    better = difference_between(*evaluations(np.array([[4.0], [5.0]]), np.array([[1.0], [3.0]])), resamples=0)["m"]
    assert (worse.dense, worse.compressed, worse.difference, worse.absolute) == (2.0, 4.5, 2.5, 2.5)
    assert (better.difference, better.absolute) == (-2.5, 2.5)
    assert (worse.lower, worse.upper, worse.measurable, worse.reason, worse.status) == (
        None,
        None,
        True,
        None,
        "estimate",
    )


def linear(seed: int) -> nn.Linear:
    model = nn.Linear(6, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    model.weight.data = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    model.bias.data.zero_()
    return model


def points(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return (
        torch.randn(count, 6, generator=generator, dtype=torch.float64),
        torch.randint(3, (count,), generator=generator),
    )


def test_loss_and_accuracy_by_default_as_two_evaluations_give_them():
    dense, compressed = linear(0), linear(1)
    found = performance_difference(dense, compressed, points())
    assert list(found) == ["loss", "accuracy"]
    assert [difference.unit for difference in found.values()] == ["nats", "fraction"]
    before, after = evaluate(dense, points()), evaluate(compressed, points())
    assert found == difference_between(before, after)
    assert found["loss"].difference == after.values["loss"] - before.values["loss"]
    assert found["accuracy"].samples == 60


def test_a_one_shot_iterator_feeds_both_networks():
    inputs, targets = points()
    stream = (batch for batch in zip(inputs.split(17), targets.split(17), strict=True))
    streamed = performance_difference(linear(0), linear(1), stream)["loss"]
    # Matrix products of other batch shapes may sum in another order.
    assert streamed.difference == pytest.approx(
        performance_difference(linear(0), linear(1), (inputs, targets))["loss"].difference, rel=1e-12
    )


def test_a_call_can_be_repeated_and_a_generator_changes_the_resamples():
    first, second = (performance_difference(linear(0), linear(1), points())["loss"] for _ in range(2))
    assert first == second
    other = performance_difference(linear(0), linear(1), points(), generator=torch.Generator().manual_seed(1))["loss"]
    assert other.difference == first.difference
    assert other.lower != first.lower


def test_equal_networks_differ_by_nothing():
    found = performance_difference(linear(0), linear(0), points())["loss"]
    assert (found.difference, found.standard_error, found.lower, found.upper) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("damage", [math.nan, math.inf])
@pytest.mark.parametrize("network", ["dense", "compressed"])
def test_a_network_that_returns_no_numbers_is_not_measurable(damage, network):
    broken = linear(1)
    broken.weight.data[0, 0] = damage
    pair = {"dense": linear(0), "compressed": linear(0)} | {network: broken}
    found = performance_difference(pair["dense"], pair["compressed"], points())["loss"]
    assert not found.measurable
    assert found.reason == f"{network} loss is nan (60 of 60 outputs not finite)"
    missing = (found.difference, found.absolute, found.standard_error, found.lower, found.upper)
    assert missing == (None, None, None, None, None)
    assert (found.non_finite_dense, found.non_finite_compressed) == ((60, 0) if network == "dense" else (0, 60))
    assert getattr(found, network) is None
    # What is written as JSON holds no NaN, which JSON does not know.
    assert json.dumps(msgspec.to_builtins(found), allow_nan=False)


def test_one_broken_metric_leaves_the_others_their_interval():
    chosen = {"loss": metrics.cross_entropy, "broken": lambda outputs, targets: torch.full((len(outputs),), torch.inf)}
    found = performance_difference(linear(0), linear(1), points(), chosen)
    alone = performance_difference(linear(0), linear(1), points(), {"loss": metrics.cross_entropy})
    assert found["loss"] == alone["loss"]
    assert found["broken"].reason == (
        "dense broken is inf (0 of 60 outputs not finite); compressed broken is inf (0 of 60 outputs not finite)"
    )


def test_one_sample_has_a_difference_and_no_spread():
    found = performance_difference(linear(0), linear(1), points(1))["loss"]
    assert found.measurable
    assert found.difference is not None
    assert (found.standard_error, found.lower, found.upper) == (None, None, None)
    assert found.reason == "one sample shows no spread; give at least two"


def test_a_scalar_metric_that_some_resamples_leave_undefined_has_no_interval():
    # With 3 samples a ninth of the resamples repeat one sample, on which a correlation is 0/0.
    pair = evaluations(
        np.array([[1.0], [2.0], [3.5]]), np.array([[1.0], [3.0], [2.0]]), correlation, torch.tensor([1, 2, 3])
    )
    found = difference_between(*pair, resamples=500)["m"]
    assert found.measurable
    assert (found.standard_error, found.lower, found.upper) == (None, None, None)
    assert found.reason is not None
    assert found.reason.startswith("m is not finite on ")


def test_a_scalar_metric_without_resamples_says_that_it_needs_them():
    pair = evaluations(*correlated(20, seed=0), metric=lambda outputs, targets: outputs.mean())
    found = difference_between(*pair, resamples=0)["m"]
    assert found.standard_error is None
    assert found.reason == "m is not a mean over samples, so its standard error needs resamples"


def test_evaluations_of_other_samples_or_metrics_are_not_paired():
    inputs, targets = points()
    whole = evaluate(linear(0), (inputs, targets))
    with pytest.raises(
        DataError, match=r"dense \(60 samples\) and compressed \(59 samples\) were evaluated on different"
    ):
        difference_between(whole, evaluate(linear(1), (inputs[1:], targets[1:])))
    with pytest.raises(DataError, match=r"in the same order \(no shuffling\)"):
        difference_between(whole, evaluate(linear(1), (inputs.flip(0), targets.flip(0))))
    with pytest.raises(DataError, match="dense was measured by loss, accuracy and compressed by loss; evaluate both"):
        difference_between(whole, evaluate(linear(1), (inputs, targets), {"loss": metrics.cross_entropy}))


def test_impossible_resampling_is_refused_before_any_forward_pass():
    with pytest.raises(DataError, match=r"10 resamples are too few for confidence 0\.95; give at least 40"):
        performance_difference(linear(0), linear(1), iter([]), resamples=10)


def test_the_name_of_the_failing_network_is_in_the_message():
    with pytest.raises(DataError, match=r"compressed failed on inputs of shape \(60, 6\)"):
        performance_difference(linear(0), nn.Linear(5, 3), points())


def test_a_record_is_a_frozen_value():
    found = performance_difference(linear(0), linear(1), points(), resamples=0)["loss"]
    with pytest.raises(AttributeError, match="immutable type"):
        found.difference = 0.0  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(hash(found), int)
    assert PerformanceDifference.__struct_fields__[:6] == (
        "metric", "unit", "dense", "compressed", "difference", "absolute",
    )  # fmt: skip
