"""docs/leaderboard.md, made from the records beside it: what ranks compressed networks best, and where it does not."""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
from leaderboard_cases import Case, Wanted, cases
from leaderboard_correlations import FEWEST, correlations, grown, halves, reliability, with_combinations
from leaderboard_details import details
from leaderboard_networks import NAMES
from leaderboard_rungs import BASELINES, KINDS, TARGETS, rows_of
from leaderboard_store import measured
from leaderboard_sums import scanned, table_of
from leaderboard_tables import averages, best, costs_table, number, peers_table, row_of, table, value_of
from leaderboard_text import CEILING_HEAD, CEILING_TAIL, HEAD, READING

from shrinkscope.files import atomic_path

DOCS = Path(__file__).parents[1] / "docs"
RECORDS, FACTS = DOCS / "leaderboard.csv", DOCS / "leaderboard.json"
PAGE, DETAILS = DOCS / "leaderboard.md", DOCS / "leaderboard-details.md"
WITHIN, WITHOUT_DATA, WEIGHTS_ONLY = 0.02, 0.93, 0.90


def write_page(work: Path) -> None:
    """Gather what was measured into the records, and write both pages from them.

    Args:
        work: Where the records of the networks are kept; those that are not there keep the records they have.
    """
    facts: dict[str, Any] = json.loads(FACTS.read_text()) if FACTS.exists() else {"networks": {}}
    parts = []
    old = pd.read_csv(RECORDS) if RECORDS.exists() and "losses_0" in RECORDS.read_text()[:2000] else None
    for name in NAMES:
        folder = work / name
        if measured(folder, "cases") and (folder / "about.json").exists():
            facts["networks"][name], rows = _gathered(folder)
            parts.append(rows)
        elif old is not None and name in set(old["network"]):
            parts.append(old[old["network"] == name])
    if (work / "peers.json").exists():
        facts["peers"] = json.loads((work / "peers.json").read_text())
    records = with_combinations(pd.concat(parts, ignore_index=True))
    found = correlations(records)
    with atomic_path(RECORDS) as path:
        records.to_csv(path, index=False, float_format="%.5g")
    with atomic_path(FACTS) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
    for target, text in ((PAGE, page(found, records, facts)), (DETAILS, details(found))):
        with atomic_path(target) as path:
            path.write_text(text, encoding="utf-8")


def _gathered(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    about = json.loads((folder / "about.json").read_text())
    listed: list[Case] = cases(about["layers"], Wanted(**about["wanted"]))
    records = measured(folder, "cases")
    seconds = [record["seconds"] for record in records]
    about["seconds"] = {key: sum(second[key] for second in seconds) / len(seconds) for key in seconds[0]}
    about |= {"measured": len(records), "listed": len(listed), "table": _table_cost(folder)}
    about |= {stage: len(measured(folder, stage)) for stage in ("refit_total", "tuned", "more")}
    return about, rows_of(folder, listed)


def _table_cost(folder: Path) -> dict[str, float]:
    if not scanned(folder):
        return {"forwards": 0.0, "seconds": 0.0}
    content = table_of(folder, "real")
    return {"forwards": content["forwards"], "seconds": content["seconds"]}


def page(found: pd.DataFrame, records: pd.DataFrame, facts: dict[str, Any]) -> str:
    """The text of docs/leaderboard.md."""
    networks = facts["networks"]
    text = HEAD + _summary(found[found["target"] == "losses"])
    text += "\n## Mean over the networks\n\n" + averages(found)
    text += "\n## Targets\n\n" + _targets(found[found["target"] == "losses"], networks)
    text += READING + "\n## Networks and cases\n\n" + _networks(networks)
    text += "\n## After compression\n\n" + _later(found)
    text += "\n## Cost\n\n" + costs_table(networks)
    text += "\n## Where a measure loses to a trivial one\n\n" + _losing(found[found["target"] == "losses"])
    text += "\n## Is the ceiling right?\n\n" + _ceilings(records)
    return text + "\n## Other tools, in one run\n\n" + peers_table(facts.get("peers", []))


def _summary(found: pd.DataFrame) -> str:
    head = ["network", "family", "cases", "ceiling", "best measure", "64 unlabelled: KL", "soft", "no data: KL", "soft"]
    head += ["best of the weights", "best trivial"]
    rows = []
    for (network, family), group in found[found["part"] == "all"].groupby(["network", "family"], sort=False):
        usable = group[~group["kind"].isin(["all judged images, unlabelled"])]
        first = usable.loc[usable["spearman"].idxmax()]
        weights, trivial = best(group, KINDS["weights"]), best(group, BASELINES)
        rows.append(
            [network, family, str(first["cases"]), number(first["ceiling"]), row_of(first)]
            + [value_of(group, rung) for rung in ("kl_real", "soft_real", "kl_none", "soft_none")]
            + [row_of(weights), row_of(trivial)]
        )
    return table(head, rows)


def _targets(found: pd.DataFrame, networks: dict[str, Any]) -> str:
    whole = found[found["part"] == "all"]
    rows = []
    for (network, family), group in whole.groupby(["network", "family"], sort=False):
        if family == "one layer":
            rows += _one_layer_targets(network, group)
        elif family.startswith("total"):
            rows.append(_total_target(network, family, group))
    head = ["network", "family", "target", "found", "verdict"]
    text = _tally(rows) + table(head, rows)
    share = {name: _share(about) for name, about in networks.items()}
    listed = ", ".join(f"{name} {judged:.1%} and {large:.2%}" for name, (judged, large) in share.items())
    return text + (
        "\nCost of `kl_real`, as a share of evaluating all cases on this judge's images and on 10,000: "
        f"{listed}. The target is 1 %: met where cases are evaluated on 10,000 images, missed on so few as here.\n"
    )


def _tally(rows: list[list[str]]) -> str:
    """How often each target is met."""
    text = ""
    for target in dict.fromkeys(re.sub(r" the ceiling [0-9.]+", " the ceiling", row[2]) for row in rows):
        verdicts = [row[4] for row in rows if re.sub(r" the ceiling [0-9.]+", " the ceiling", row[2]) == target]
        text += f"- {target}: met {sum(v in ('met', 'clearly') for v in verdicts)} times of {len(verdicts)}\n"
    return text + "\n"


def _share(about: dict[str, Any]) -> tuple[float, float]:
    used = min(64, about["inputs"]["real"])
    return used / about["judge"], used / 10_000


def _one_layer_targets(network: str, group: pd.DataFrame) -> list[list[str]]:
    ceiling = group["ceiling"].iloc[0]
    by = group.set_index("rung")["spearman"]
    few = max((by[rung], rung) for rung in by.index if rung in ("kl_real", "soft_real", "kl_fresh", "soft_fresh"))
    none = max((by[rung], rung) for rung in by.index if rung in ("kl_none", "soft_none", "combined_none"))
    weights = max((by[rung], rung) for rung in by.index if rung in (*KINDS["weights"], "combined_weights"))
    wanted = [
        (f"64 unlabelled within {WITHIN} of the ceiling {ceiling:.3f}", (by["kl_real"], "kl_real"), ceiling - WITHIN),
        (f"the same, other inputs and distances (best of them), within {WITHIN}", few, ceiling - WITHIN),
        (f"no data at all ≥ {WITHOUT_DATA}", none, WITHOUT_DATA),
        (f"weights alone ≥ {WEIGHTS_ONLY:.2f}", weights, WEIGHTS_ONLY),
    ]
    return [
        [network, "one layer", what, f"{value:.3f} `{rung}`", _verdict(value, least)]
        for what, (value, rung), least in wanted
    ]


def _verdict(value: float, least: float) -> str:
    return "met" if value >= least else f"missed by {least - value:.3f}"


def _total_target(network: str, family: str, group: pd.DataFrame) -> list[str]:
    seen = [*KINDS["unlabelled"], "combined_64"]
    mine = best(group, KINDS["unlabelled"])
    other = best(group, [r for r in group["rung"] if r not in seen and r not in KINDS["all judged images, unlabelled"]])
    clear = mine["low"] > other["spearman"]
    verdict = "clearly" if clear else "best, not clearly" if mine["spearman"] > other["spearman"] else "missed"
    result = f"{row_of(mine)}, from {mine['low']:.2f}; best of the others {row_of(other)}"
    return [network, family, "predictive on unlabelled inputs clearly the best", result, verdict]


def _networks(networks: dict[str, Any]) -> str:
    head = ["network", "accuracy", "layers", "judged on", "cases", "re-estimated", "trained on", "unlabelled inputs"]
    rows = []
    for name, about in networks.items():
        inputs = ", ".join(f"{key} {size}" for key, size in about["inputs"].items())
        refitted = about["wanted"]["refit"]
        together = about["measured"] if refitted is None else min(refitted, about["measured"])
        refit = str(together + about["refit_total"]) if about["norms"] else "—"
        judged = f"{about['judge']}" + (f"; {about['judge_more']} JPEG" if about["more"] else "")
        judged += (
            ""
            if about.get("judge_later", about["judge"]) == about["judge"]
            else f"; after training {about['judge_later']}"
        )
        done = f"{about['measured']} of {about['listed']}"
        rows.append(
            [
                name,
                f"{about['accuracy']:.2%}",
                str(len(about["layers"])),
                judged,
                done,
                refit,
                str(about["tuned"]),
                inputs,
            ]
        )
    return table(head, rows) + _missing(networks)


def _missing(networks: dict[str, Any]) -> str:
    """What the benchmark can measure, and has not."""
    missing = [f"{name} has not been measured" for name in NAMES if name not in networks]
    missing += [f"{name} only in part" for name, about in networks.items() if about["measured"] < about["listed"]]
    if not any(about["more"] for about in networks.values()):
        missing.append("nothing has been judged on JPEG images")
    return f"\nNot complete: {'; '.join(missing)}.\n" if missing else ""


def _later(found: pd.DataFrame) -> str:
    text = ""
    for target in ("refit", "tuned", "more"):
        chosen = found[(found["target"] == target) & (found["part"] == "all")]
        if chosen.empty:
            continue
        rows = []
        for (network, family), group in chosen.groupby(["network", "family"], sort=False):
            first = best(group, [r for r in group["rung"] if r not in KINDS["all judged images, unlabelled"]])
            rows.append(
                [network, family, str(first["cases"]), number(first["ceiling"]), row_of(first)]
                + [value_of(group, rung) for rung in ("kl_refit", "kl_real", "kl_none", "sum_of_kl", "relative_ap2")]
                + [row_of(best(group, KINDS["weights"])), row_of(best(group, BASELINES))]
            )
        head = ["network", "family", "cases", "ceiling", "best measure", "`kl_refit`", "`kl_real`", "`kl_none`"]
        head += ["`sum_of_kl`", "`relative_ap2`", "best of the weights", "best trivial"]
        text += f"**The loss {TARGETS[target]}**, ranked by measures taken just after compression:\n\n"
        text += table(head, rows) + "\n"
    return text


def _losing(found: pd.DataFrame) -> str:
    """Rungs of the ladder below the best trivial baseline, in words."""
    lines = []
    for (network, family), group in found[found["part"] == "all"].groupby(["network", "family"], sort=False):
        trivial = best(group, BASELINES)
        worse = group[(group["spearman"] < trivial["spearman"]) & ~group["rung"].isin(BASELINES)]
        worse = worse[~worse["rung"].str.contains("_all|_judge")].sort_values("spearman", ascending=False)
        names = ", ".join(f"`{row['rung']}` ({row['spearman']:.2f})" for _, row in worse.iterrows())
        said = f"{names} lose to it." if names else "nothing loses to it."
        lines.append(f"- {network}, {family}: the best trivial measure is {row_of(trivial)}; {said}")
    return "\n".join(lines) + "\n"


def _ceilings(records: pd.DataFrame) -> str:
    rows = []
    for (network, family), group in records.groupby(["network", "family"], sort=False):
        if len(group) < FEWEST:
            continue
        expected, seen = halves(group, "losses")
        ceilings = [math.sqrt(reliability(group, "losses")), math.sqrt(grown(group, "losses"))]
        oracle = [_against(group, rung) for rung in KINDS["all judged images, unlabelled"]]
        rows.append([network, family, number(expected), number(seen), *map(number, ceilings), *map(number, oracle)])
    head = [
        "network",
        "family",
        "half, by the formula from quarters",
        "half, measured",
        "ceiling",
        "ceiling, as it grows",
    ]
    head += ["KL on all judged images", "soft, likewise"]
    return CEILING_HEAD + table(head, rows) + CEILING_TAIL


def _against(group: pd.DataFrame, rung: str) -> float:
    return float(group[rung].corr(group["losses"], method="spearman")) if len(group) > 1 else math.nan
