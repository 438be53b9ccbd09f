"""From networks to findings: comparison of weights, explanation with performance, concordance of measures."""

from shrinkscope.analysis.compare import compare
from shrinkscope.analysis.comparison import Comparison
from shrinkscope.analysis.explain import Explanation, explain
from shrinkscope.analysis.records import LayerRecord, Total

__all__ = ["Comparison", "Explanation", "LayerRecord", "Total", "compare", "explain"]
