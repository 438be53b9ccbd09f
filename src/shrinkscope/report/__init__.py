"""Records and comparisons for people: tables on the terminal, figures, and one self-contained HTML report.

Names are imported when they are first used, so that printing a table does not load what draws figures.
"""

from typing import TYPE_CHECKING

from shrinkscope.deferred import defer

if TYPE_CHECKING:
    from shrinkscope.report.figures import Picture, comparison_figures, demo_figures, save_figures
    from shrinkscope.report.html import comparison_report, demo_report, write_report
    from shrinkscope.report.printed_study import print_demo
    from shrinkscope.report.save import save_comparison
    from shrinkscope.report.scanned import print_scan, save_scan
    from shrinkscope.report.statements import print_statements, save_statements
    from shrinkscope.report.terminal import print_comparison, print_explanation, print_gates

__all__ = [
    "Picture",
    "comparison_figures",
    "comparison_report",
    "demo_figures",
    "demo_report",
    "print_comparison",
    "print_demo",
    "print_explanation",
    "print_gates",
    "print_scan",
    "print_statements",
    "save_comparison",
    "save_figures",
    "save_scan",
    "save_statements",
    "write_report",
]


defer(
    __name__,
    {
        "Picture": "figures",
        "comparison_figures": "figures",
        "comparison_report": "html",
        "demo_figures": "figures",
        "demo_report": "html",
        "print_comparison": "terminal",
        "print_demo": "printed_study",
        "print_explanation": "terminal",
        "print_gates": "terminal",
        "print_scan": "scanned",
        "print_statements": "statements",
        "save_comparison": "save",
        "save_figures": "figures",
        "save_scan": "scanned",
        "save_statements": "statements",
        "write_report": "html",
    },
)
