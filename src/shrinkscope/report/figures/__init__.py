"""The paper's figures from records: matplotlib figures with captions, written as PNG and SVG."""

from shrinkscope.report.figures.catalogue import FAMILIES, demo_figures
from shrinkscope.report.figures.compared import comparison_figures
from shrinkscope.report.figures.epochs import over_epochs
from shrinkscope.report.figures.iterations import towards_the_end
from shrinkscope.report.figures.layers import bars_by_layer, map_of_layers
from shrinkscope.report.figures.picture import Picture, save_figures
from shrinkscope.report.figures.scatter import ap_against_pd

__all__ = [
    "FAMILIES",
    "Picture",
    "ap_against_pd",
    "bars_by_layer",
    "comparison_figures",
    "demo_figures",
    "map_of_layers",
    "over_epochs",
    "save_figures",
    "towards_the_end",
]
