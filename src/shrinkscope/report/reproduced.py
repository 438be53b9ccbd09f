"""A run as the page of the reproduction has it: what it is of, what it measured, and what it is held against."""

import json
from collections.abc import Collection
from typing import Any

import msgspec
import pandas as pd

from shrinkscope.analysis.concordance import Concordance, concordance
from shrinkscope.experiments.agreement import cases_at, pruned_only
from shrinkscope.experiments.baselines import BASELINES, with_baselines
from shrinkscope.experiments.claims import RESAMPLES, Claims, claims
from shrinkscope.experiments.records import DENSE, NETWORK, Run
from shrinkscope.report.figures.paper import named
from shrinkscope.report.figures.paper_runs import source_of
from shrinkscope.report.format import percent
from shrinkscope.report.vocabulary import scope_name


class Reproduced(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One study.

    Attributes:
        run: Its run.
        name: Its name.
        records: Its long table.
        claims: Its numbers.
        last: Last epoch of fine-tuning.
    """

    run: Run
    name: str
    records: pd.DataFrame
    claims: Claims
    last: int

    def cases(self) -> list[pd.DataFrame]:
        """The networks after fine-tuning, a table for each part of the network that was pruned."""
        totals = self.records.loc[self.records["layer"] == NETWORK]
        scopes = pruned_only(totals)["scope"].drop_duplicates().tolist()
        return [cases_at(totals, scope, self.last) for scope in scopes]

    @property
    def title(self) -> str:
        """Network and data."""
        return named(source_of(self.run.run, self.run.config))


def study_of(run: Run) -> str:
    """Name of the study that a run is of.

    Args:
        run: The run.
    """
    return str(json.loads(run.config).get("name", "unnamed"))


def reproduced(run: Run, records: pd.DataFrame, pds: tuple[str, ...], epochs: Collection[int] = ()) -> Reproduced:
    """Measure the claims of one run.

    Args:
        run: The run.
        records: Its long table, with a pruned network at least.
        pds: Performance differences to hold the APs against.
        epochs: Epochs to measure beside the first and the last.
    """
    there = sorted(set(pruned_only(records)["epoch"].tolist()))
    shown = records.loc[records["epoch"].isin([epoch for epoch in there if epoch in {0, *epochs, there[-1]}])]
    return Reproduced(run=run, name=study_of(run), records=records, claims=claims(shown, pds), last=there[-1])


def set_up(config: dict[str, Any]) -> tuple[str, str, str, str]:
    """Say in cells of a table what a study is of: network, images, what is pruned, and epochs.

    Args:
        config: The study as its run keeps it.
    """
    source = source_of("", msgspec.json.encode(config).decode())
    network, _, data = named(source).partition(" on ")
    images = config.get("data", {})
    size = images.get("transform", {}).get("size")
    counts = f"{_count(images.get('train_samples'))} and {_count(images.get('test_samples'))}"
    seen = counts if images.get("kind") != "digits" else f"the others and {images['test_size']}"
    head = {"new": "new last layer, trained on features", "keep": "as its weights are"}[config["head"]]
    start = head if config["weights"] else "from an initialisation"
    kept = {"scope": "alone fine-tuned"}.get(config["finetune"], "all fine-tuned")
    pruned = ", ".join(
        f"{scope_name(scope)} ({kept if scope == 'last' else 'fine-tuned'})" for scope in config["scopes"]
    )
    training = config["training"]
    epochs = f"{training['epochs'] if training else 0} + {config['finetuning']['epochs']}"
    return f"{network}, {start}", f"{data}{f' at {size} px' if size else ''}: {seen}", pruned, epochs


def _count(samples: int | None) -> str:
    return "all" if samples is None else f"{samples:,}"


def dense_accuracy(records: pd.DataFrame) -> str:
    """Accuracy of the dense networks on held-out data: the mean over trials and its range.

    Args:
        records: The long table of one run.
    """
    rows = records.loc[(records["method"] == DENSE) & (records["metric"] == "accuracy_test")]
    values = rows["value"].dropna().tolist()
    if not values:
        return "n/a"
    mean = percent(sum(values) / len(values))
    return mean if max(values) == min(values) else f"{mean} ({percent(min(values))} to {percent(max(values))})"


def baseline_rows(one: Reproduced, ends: list[tuple[str, int]]) -> dict[str, list[Concordance]]:
    """τ of each baseline with a PD between methods at one level, as ``claims`` finds it for an AP.

    Args:
        one: The study.
        ends: Metrics of PD and epochs.
    """
    totals = one.records.loc[one.records["layer"] == NETWORK]
    scope = totals.loc[totals["method"] != DENSE, "scope"].iloc[0]
    before = cases_at(totals, scope, 0)
    tables = {epoch: with_baselines(cases_at(totals, scope, epoch), before) for _, epoch in ends}
    return {
        name: [
            concordance(
                tables[epoch][name].to_numpy(),
                tables[epoch][pd_name].to_numpy(),
                clusters=tables[epoch]["trial"].to_numpy(),
                strata=list(tables[epoch][["trial", "level"]].itertuples(index=False, name=None)),
                resamples=RESAMPLES,
            )
            for pd_name, epoch in ends
        ]
        for name in BASELINES
    }
