"""Reports as one self-contained HTML file: opens offline, sorts, follows the light or dark theme, prints."""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.analysis.wording import predictive_in_words
from shrinkscope.files import write_text
from shrinkscope.report.compared import not_compared, obstacles, performance_sheet, predictive_sheet, verdict
from shrinkscope.report.curves import NETWORK, Curves
from shrinkscope.report.damage import layer_sheet
from shrinkscope.report.figures import FAMILIES, Picture, comparison_figures, demo_figures
from shrinkscope.report.format import count, percent, printable
from shrinkscope.report.gated import failures_sheet, gates_in_words
from shrinkscope.report.heatmap import heat_map
from shrinkscope.report.inline import inline_svg
from shrinkscope.report.sheet import Column, Sheet, legend
from shrinkscope.report.summary import dense_in_words, layers_sheet, summary_sheets
from shrinkscope.report.vocabulary import GLOSSARY, GLOSSARY_OF_BOUNDS
from shrinkscope.version import version

_OF_COMPARISONS = ("AP2", "AP3", "PD", "sparsity", "exact, bound, estimate", "nat", "n/a")  # the rest is of studies


class _Figure(msgspec.Struct, frozen=True):
    """A picture as the template draws it."""

    name: str
    group: str
    tab: str
    caption: str
    number: int
    svg: str


class _Family(msgspec.Struct, frozen=True):
    """A section of figures."""

    anchor: str
    title: str
    short: str
    pictures: list[_Figure]

    @property
    def groups(self) -> list[tuple[str, list[_Figure]]]:
        """Pictures that share a group, in the order of presentation."""
        return [(group, list(members)) for group, members in groupby(self.pictures, key=lambda picture: picture.group)]


class _Compared(msgspec.Struct, frozen=True):
    """A comparison as the template draws it."""

    verdict: str
    layers: Sheet
    legend: list[Column]
    left_out: list[str]


def demo_report(
    records: pd.DataFrame,
    *,
    run: Mapping[str, Any] | None = None,
    conclusions: Sequence[str] = (),
    notes: Sequence[str] = (),
    figures: Mapping[str, Picture] | None = None,
    comparisons: Mapping[str, Comparison] | None = None,
    title: str = "What pruning did to this network",
    lede: str = "",
    data: str = "",
) -> str:
    """Write the report of a study as one HTML page.

    Args:
        records: The long table of records.
        run: Settings, versions, seeds and hashes, possibly nested; shown as they are.
        conclusions: Sentences computed from the numbers, shown first.
        notes: Sentences on how to read the measures, folded away below them.
        figures: Pictures of ``demo_figures``, when they were drawn already; drawn from the records when None.
        comparisons: Name → comparison, each shown as a table.
        title: Heading of the page.
        lede: One sentence under the heading: which network, which data.
        data: What network and data the records are of, for the captions of figures drawn here.

    Returns:
        The page; it refers to no other file and no address.

    Raises:
        StoreError: If the table lacks columns or rows, or records a value twice.
    """
    curves = Curves(records)
    pictures = demo_figures(records, data=data) if figures is None else figures
    families = _families(pictures.values())
    summaries = summary_sheets(curves)
    compared = [(name, _compared(comparison)) for name, comparison in (comparisons or {}).items()]
    sections = [("conclusions", "Conclusions")] if conclusions else []
    sections += [("summary", "Summary"), *((family.anchor, family.short) for family in families)]
    sections += [("comparisons", "Comparisons")] if compared else []
    return _render(
        "demo.html.j2",
        sections,
        run,
        title=title,
        lede=lede,
        glossary=GLOSSARY,
        conclusions=list(conclusions),
        notes=list(notes),
        facts=_facts(curves),
        dense=dense_in_words(curves),
        summaries=summaries,
        legend=legend(summaries[0].columns),
        families=families,
        layers=layers_sheet(curves),
        comparisons=compared,
    )


def comparison_report(result: Comparison | Explanation, *, title: str = "What compression changed") -> str:
    """Write a comparison, or an explanation, as one HTML page.

    Args:
        result: The comparison or the explanation.
        title: Heading of the page.

    Returns:
        The page; it refers to no other file and no address.
    """
    comparison = result.comparison if isinstance(result, Explanation) else result
    compared = _compared(comparison)
    performance = performance_sheet(result) if isinstance(result, Explanation) and result.performance else None
    predictive = predictive_sheet(result) if isinstance(result, Explanation) else None
    settings = comparison.settings
    heat = heat_map(comparison)
    groups = _groups(comparison)
    sections = [("gates", "Gates")] if comparison.gates else []
    sections += [("found", "What changed")]
    sections += [("proved", "What is proved")] if predictive else []
    sections += [("heat", "Depth and role")] if heat else []
    sections += [("layers", "Damage by layer")]
    sections += [("groups", "Damage by group")] if groups else []
    sections += [("left-out", "Not compared")] if compared.left_out else []
    return _render(
        "comparison.html.j2",
        sections,
        msgspec.to_builtins(settings),
        title=title,
        lede=f"{printable(settings.dense)} → {printable(settings.compressed)}",
        glossary={word: GLOSSARY[word] for word in _OF_COMPARISONS} | (GLOSSARY_OF_BOUNDS if predictive else {}),
        compared=compared,
        gates=gates_in_words(comparison),
        failures=failures_sheet(comparison),
        heat=heat,
        groups=groups,
        performance=performance,
        performance_legend=legend(performance.columns) if performance else [],
        predictive=predictive,
        predictive_legend=legend(predictive.columns) if predictive else [],
        proved=predictive_in_words(result.predictive, result.performance) if isinstance(result, Explanation) else [],
        obstacles=obstacles(result) if isinstance(result, Explanation) else [],
        families=_families(comparison_figures(comparison).values()),
    )


def write_report(path: str | os.PathLike[str], html: str) -> None:
    """Write a report, all or nothing.

    Args:
        path: The file.
        html: The page.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_text(path, html)


def _render(template: str, sections: list[tuple[str, str]], run: Mapping[str, Any] | None, **content: object) -> str:
    environment = Environment(
        loader=PackageLoader("shrinkscope.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = _source(environment, "report.js")
    settings = list(flattened(run or {}))
    return environment.get_template(template).render(
        **content,
        contents=[*sections, *([("settings", "Settings")] if settings else []), ("glossary", "Glossary")],
        settings=settings,
        version=version(),
        css=_source(environment, "report.css"),
        script=script,
        # The page's own script is the only one that browsers run in it, whatever a layer is called.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # it was given above
    return environment.loader.get_source(environment, name)[0]


def _families(pictures: Iterable[Picture]) -> list[_Family]:
    by_family: dict[str, list[_Figure]] = {}
    for number, picture in enumerate(pictures, start=1):
        figure = _Figure(
            picture.name, picture.group.capitalize(), picture.tab, picture.caption, number, inline_svg(picture)
        )
        by_family.setdefault(picture.family, []).append(figure)
    return [
        _Family(name.replace("_", "-"), *FAMILIES.get(name, (name, name)), members)
        for name, members in by_family.items()
    ]


def _compared(comparison: Comparison) -> _Compared:
    layers = layer_sheet(comparison)
    return _Compared(verdict(comparison), layers, legend(layers.columns), not_compared(comparison))


def _groups(comparison: Comparison) -> list[Sheet]:
    """Tables by block, by role and by expert, where they say something that the table by layer does not."""
    sheets = [layer_sheet(comparison.grouped_by(by)) for by in ("block", "role", "expert", "mixture")]
    measured = sum(row.measurable for row in comparison.rows)
    return [sheet for sheet in sheets if 1 < len(sheet.rows) < measured]


def _facts(curves: Curves) -> list[tuple[str, str]]:
    network = curves.dense[curves.dense["layer"] == NETWORK]
    accuracy = network[network["metric"] == "accuracy_test"]["value"].mean()
    configurations = len(curves.scopes) * len(curves.methods) * len(curves.levels)
    facts = [
        ("accuracy before pruning", percent(float(accuracy))),
        ("ways of pruning", count(configurations)),
        ("trials of each", count(curves.trials)),
        ("epochs of fine-tuning", count(curves.last_epoch)),
        ("layers", count(len(curves.layers))),
        ("recorded numbers", count(len(curves.records) + len(curves.dense))),
    ]
    return facts[0 if len(network) else 1 :]


def flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Flatten nested settings into names with dots and values as text.

    Args:
        settings: Settings, possibly nested.
        prefix: What the names begin with.

    Yields:
        Name and text of each setting.

    >>> list(flattened({"train": {"epochs": 20, "levels": [0.1, 0.3]}, "seed": None}))
    [('train.epochs', '20'), ('train.levels', '0.1, 0.3'), ('seed', 'not set')]
    """
    for name, setting in settings.items():
        if isinstance(setting, Mapping):
            yield from flattened(setting, f"{prefix}{name}.")
        elif isinstance(setting, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, setting))
        else:
            yield f"{prefix}{name}", "not set" if setting is None else str(setting)
