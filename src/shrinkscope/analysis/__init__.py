"""From networks to findings: comparison of weights, explanation with performance, concordance of measures."""

from typing import TYPE_CHECKING

from shrinkscope.deferred import defer

if TYPE_CHECKING:
    from shrinkscope.analysis.compare import compare
    from shrinkscope.analysis.comparison import Comparison
    from shrinkscope.analysis.explain import Explanation, explain
    from shrinkscope.analysis.optimal_sparsity import optimal_sparsity
    from shrinkscope.analysis.plan import Plan, plan
    from shrinkscope.analysis.prediction import Calibration, Prediction, calibrate
    from shrinkscope.analysis.predictive import Predictive
    from shrinkscope.analysis.records import LayerRecord, Total
    from shrinkscope.analysis.scan import Scan, scan
    from shrinkscope.analysis.sparsity_records import OptimalSparsity, SparsityCurve, SparsityPoint

__all__ = [
    "Calibration",
    "Comparison",
    "Explanation",
    "LayerRecord",
    "OptimalSparsity",
    "Plan",
    "Prediction",
    "Predictive",
    "Scan",
    "SparsityCurve",
    "SparsityPoint",
    "Total",
    "calibrate",
    "compare",
    "explain",
    "optimal_sparsity",
    "plan",
    "scan",
]

defer(
    __name__,
    {
        "Calibration": "prediction",
        "Comparison": "comparison",
        "Explanation": "explain",
        "LayerRecord": "records",
        "OptimalSparsity": "sparsity_records",
        "Plan": "plan",
        "Prediction": "prediction",
        "Predictive": "predictive",
        "Scan": "scan",
        "SparsityCurve": "sparsity_records",
        "SparsityPoint": "sparsity_records",
        "Total": "records",
        "calibrate": "prediction",
        "compare": "compare",
        "explain": "explain",
        "optimal_sparsity": "optimal_sparsity",
        "plan": "plan",
        "scan": "scan",
    },
)
