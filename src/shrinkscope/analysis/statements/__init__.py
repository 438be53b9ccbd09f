"""The paper's statements put to the test: bounds beside what they bound, on quadratics and on networks."""

from shrinkscope.analysis.statements.networks import (
    Head,
    last_layer_trials,
    layers_trials,
    predictive_trials,
    training_trials,
)
from shrinkscope.analysis.statements.quadratics import quadratic_trials
from shrinkscope.analysis.statements.trial import StatementRow, Trial, tabulate, untried

__all__ = [
    "Head",
    "StatementRow",
    "Trial",
    "last_layer_trials",
    "layers_trials",
    "predictive_trials",
    "quadratic_trials",
    "tabulate",
    "training_trials",
    "untried",
]
