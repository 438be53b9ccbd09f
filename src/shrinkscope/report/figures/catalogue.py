"""Which figures a study of compression calls for, and in which order a reader should meet them."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from shrinkscope.report.curves import NETWORK, Curves
from shrinkscope.report.figures.epochs import over_epochs
from shrinkscope.report.figures.iterations import DEFINITION, THEOREM, towards_the_end
from shrinkscope.report.figures.layers import bars_by_layer, map_of_layers
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.scatter import ap_against_pd


class Family(NamedTuple):
    """A section of figures: its heading, and the short name that leads to it."""

    title: str
    short: str


# In the order of the report.
FAMILIES: dict[str, Family] = {
    "scatter": Family("Does AP explain the performance difference?", "AP against PD"),
    "epochs-ap2": Family("AP2 and performance difference over fine-tuning", "AP2 and PD"),
    "epochs-ap3_student_t_grouped": Family(
        "AP3 (Student-t, as in the paper) and performance difference", "AP3 t and PD"
    ),
    "epochs-ap3_gaussian_rotated": Family("AP3 (rotated Gaussian) and performance difference", "AP3 rotated and PD"),
    "epochs-ap3_gaussian_rotated_grouped": Family(
        "AP3 (rotated Gaussian on group means) and performance difference", "AP3 rotated and PD"
    ),
    "contrast": Family("AP2 against AP3", "AP2 against AP3"),
    "iterations": Family("Fine-tuning on its way: Definition 2.7 and Theorem 3.6", "ε over fine-tuning"),
    "layers": Family("Damage by layer", "Layers"),
    "comparison": Family("Damage by layer", "Layers"),
}
_EPOCHS = {
    "ap2": ("pd_loss_test", "pd_accuracy_test", "pd_loss_train", "pd_accuracy_train"),
    "ap3_student_t_grouped": ("pd_loss_test", "pd_accuracy_test"),
    "ap3_gaussian_rotated": ("pd_loss_test", "pd_accuracy_test"),
    "ap3_gaussian_rotated_grouped": ("pd_loss_test", "pd_accuracy_test"),
}
_SCATTER_APS = ("ap2", "ap3_gaussian", "ap3_student_t_grouped", "ap3_gaussian_rotated", "ap3_gaussian_rotated_grouped")
_MOST_SCATTERS = 4  # panels side by side that can still be read
_SCATTER_PDS = ("pd_loss_test", "pd_accuracy_test")
_CONTRASTS = ("ap3_student_t_grouped", "ap3_student_t")
_FOLLOWED = ("gaussian", "student_t_grouped")
_BARS, _MAP = "relative_ap2", "ap3_student_t"


def demo_figures(records: pd.DataFrame, *, data: str = "") -> dict[str, Picture]:
    """Draw the paper's figures of a study, as far as its metrics were recorded.

    Args:
        records: The long table of records: columns trial, scope, method, level, epoch, layer, metric, value.
        data: What network and data the records are of, in a few words, for the captions.

    Returns:
        Pictures by the name of their files, in the order of presentation.

    Raises:
        StoreError: If the table lacks columns or rows, or records a value twice.
    """
    pictures = _pictures(Curves(records), data)
    order = list(FAMILIES)
    return {picture.name: picture for picture in sorted(pictures, key=lambda picture: order.index(picture.family))}


def _pictures(curves: Curves, data: str) -> Iterator[Picture]:
    network = curves.metrics_of(NETWORK)
    for scope in reversed(curves.scopes):
        aps = [metric for metric in _SCATTER_APS if metric in network][:_MOST_SCATTERS]
        for pd_metric in _SCATTER_PDS:
            if aps and pd_metric in network:
                yield ap_against_pd(curves, aps, pd_metric, scope, data=data)
        for ap, pds in _EPOCHS.items():
            for pd_metric in pds:
                if {ap, pd_metric} <= network:
                    yield over_epochs(curves, ap, pd_metric, scope, data=data)
        for ap3 in _CONTRASTS:
            if {"ap2", ap3} <= network:
                yield over_epochs(curves, "ap2", ap3, scope, rows=("methods",), data=data)
        for latent in _FOLLOWED:
            if {DEFINITION + latent, THEOREM + latent} <= network:
                yield towards_the_end(curves, latent, scope, data=data)
    for scope in curves.scopes:
        if scope != "last":  # a single layer has nothing to compare with
            yield from _by_layer(curves, scope, data)


def _by_layer(curves: Curves, scope: str, data: str) -> Iterator[Picture]:
    by_layer = curves.metrics_of(*curves.layers)
    if _BARS in by_layer:
        yield bars_by_layer(curves, _BARS, scope, data=data)
    if _MAP in by_layer:
        yield map_of_layers(curves, _MAP, scope, data=data)
