"""Performance of networks on data, and the performance difference PD that compression made."""

from shrinkscope.performance import metrics
from shrinkscope.performance.difference import PerformanceDifference, difference_between, performance_difference
from shrinkscope.performance.divergence import (
    PredictiveDivergence,
    divergence_of,
    mean_over_samples,
    predictive_distances,
    predictive_divergence,
)
from shrinkscope.performance.evaluate import evaluate, evaluate_all
from shrinkscope.performance.evaluation import Evaluation
from shrinkscope.performance.metrics import Metric, measured_in
from shrinkscope.performance.predictions import Predictions, PredictionTally, predictions
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.performance.reestimate import reestimate_statistics
from shrinkscope.performance.regression import residual_scale
from shrinkscope.performance.synthetic import SyntheticInputs, synthetic_inputs
from shrinkscope.performance.synthetic_tokens import synthetic_tokens
from shrinkscope.performance.tally import PredictiveDistances, PredictiveTally

__all__ = [
    "Evaluation",
    "Kind",
    "Metric",
    "PerformanceDifference",
    "PredictionTally",
    "Predictions",
    "PredictiveDistances",
    "PredictiveDivergence",
    "PredictiveTally",
    "Reading",
    "SyntheticInputs",
    "difference_between",
    "divergence_of",
    "evaluate",
    "evaluate_all",
    "mean_over_samples",
    "measured_in",
    "metrics",
    "performance_difference",
    "predictions",
    "predictive_distances",
    "predictive_divergence",
    "reestimate_statistics",
    "residual_scale",
    "synthetic_inputs",
    "synthetic_tokens",
]
