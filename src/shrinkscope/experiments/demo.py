"""The study of ``shrinkscope demo``: the paper's experiment in miniature, on data that is installed."""

import os
import time
from pathlib import Path

import msgspec
import pandas as pd

from shrinkscope.experiments.agreement import Agreement, agreements
from shrinkscope.experiments.conclusions import conclusions
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.executor import one_thread
from shrinkscope.experiments.records import DENSE
from shrinkscope.experiments.runner import OnProgress, run_study
from shrinkscope.experiments.store import Store
from shrinkscope.files import json_text

DEMO = Study(
    name="digits demo",
    training=Training(epochs=30, batch_size=128, learning_rate=0.1, weight_decay=5e-3),
    finetuning=Training(epochs=20, batch_size=128, learning_rate=0.01, weight_decay=5e-3),
    scopes=("last", "all"),
    # The last epoch, not the best: nothing is chosen by the held-out digits, so their accuracy is an honest estimate.
    dense_reference="last",
    minimum_accuracy=0.97,
    # Rotated after grouping: the eigenvectors of the largest layer in full dimension would take longer than the study.
    latents=("gaussian", "gaussian_rotated_grouped", "student_t", "student_t_grouped"),
)
"""3 dense networks; lowest, highest and random magnitude × 4 levels, in the last layer and in all layers."""


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo made and found.

    Attributes:
        out: Its folder.
        store: The store of its records.
        run: Key of its run in the store.
        networks: Folder of the dense and the pruned networks.
        cells: Number of trainings.
        resumed: How many of them were finished before.
        accuracies: Accuracy of each trial's dense network on held-out digits, a fraction.
        agreements: Concordance of each AP with PD, by scope, just pruned and after fine-tuning.
        conclusions: What the numbers say, three sentences.
        seconds: Wall-clock time.
    """

    out: Path
    store: Path
    run: str
    networks: Path
    cells: int
    resumed: int
    accuracies: tuple[float, ...]
    agreements: tuple[Agreement, ...]
    conclusions: tuple[str, str, str]
    seconds: float

    def to_json(self) -> str:
        """The whole result as JSON text; paths are text, and what could not be measured is null."""
        return json_text(self)


def run_demo(
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: OnProgress | None = None,
    settings: Study = DEMO,
    fresh: bool = False,
) -> DemoResult:
    """Train, prune, fine-tune and measure small networks on the digits, and conclude.

    Args:
        out: Folder for the records and networks; what it holds of the same study is not computed again.
        workers: Number of worker processes, by default 2, or 1 on a single core; the numbers do not depend on it.
        progress: Called at the start and after each network.
        settings: The study.
        fresh: Forget what the folder holds of this study.

    Returns:
        Where everything is, and what it says.

    Raises:
        StudyError: If a dense network misses the required accuracy, a mask was not kept, or a worker died.
        StoreError: If the store cannot be written.
        OutputError: If a network cannot be written.
    """
    started = time.perf_counter()
    outcome = run_study(settings, out, workers=workers, progress=progress, fresh=fresh)
    with Store(outcome.store, create=False) as store:
        records = store.records(outcome.run)
    with one_thread():
        found = agreements(records)
        sentences = conclusions(records, found)
    return DemoResult(
        out=Path(out),
        store=outcome.store,
        run=outcome.run,
        networks=outcome.networks,
        cells=outcome.cells,
        resumed=outcome.resumed,
        accuracies=_accuracies(records),
        agreements=tuple(found),
        conclusions=sentences,
        seconds=time.perf_counter() - started,
    )


def _accuracies(records: pd.DataFrame) -> tuple[float, ...]:
    chosen = (records["method"] == DENSE) & (records["metric"] == "accuracy_test")
    return tuple(records.loc[chosen].sort_values("trial")["value"].tolist())
