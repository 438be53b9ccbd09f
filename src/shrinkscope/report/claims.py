"""The paper's claims about a study, as tables for the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shrinkscope.analysis.claims import PairedTau
from shrinkscope.experiments.claims import Claims, Failure, Test
from shrinkscope.report.answers import conclusions
from shrinkscope.report.format import number, percent
from shrinkscope.report.markdown import spread
from shrinkscope.report.output import standard_output
from shrinkscope.report.reproduced import Reproduced
from shrinkscope.report.vocabulary import heading, scope_name, term

CAVEAT = (
    "Hypothesis of each test: both APs order the networks of a trial at one level equally well. Intervals resample "
    "networks (95 %); the sign test counts trials × levels, which share data, and its p is adjusted by Holm's step "
    "over all comparisons of its kind in this study. Intervals over a handful of trials are rough."
)
INTERVALS = (
    "τ is Kendall's, between the methods at one level within a trial; the difference from AP2 is that of τ on the same "
    "networks. [ ] is a 95 % bootstrap interval: of τ over trials, of the difference over networks. ( ) is the lowest "
    "and the highest trial, where there are too few trials for an interval: with three, one trial alone is drawn more "
    "often than a tail of 5 % / 2 holds."
)

_WIDTH = 170  # tables folded to fewer columns are hard to read


def print_claims(claims: Claims, *, console: Console | None = None) -> None:
    """Print what one study says to each of the paper's claims.

    Args:
        claims: What was measured.
        console: Where to print; standard output by default.
    """
    to = standard_output(console, without_terminal=_WIDTH)
    for table in (_concordances(claims), _contrasts(claims), _tests(claims.tests, "Does AP3 add to AP2?")):
        to.print(table)
    if claims.effects:
        to.print(_tests(claims.effects, "What each ingredient of AP3 changes"))
    to.print(_failures(claims.failures))
    to.print(CAVEAT, style="dim")


def print_conclusions(found: Sequence[Reproduced], *, console: Console | None = None) -> None:
    """Print what several studies say to the doubt about AP3: the answers, and one table of all studies.

    Args:
        found: The studies.
        console: Where to print; standard output by default.
    """
    to = standard_output(console, without_terminal=_WIDTH)
    for question, answer in conclusions(found):
        to.print(f"[bold]{question}[/bold]\n{escape(answer)}\n", highlight=False)
    to.print(_overview(found))
    to.print(escape(INTERVALS), style="dim", highlight=False)


def _overview(found: Sequence[Reproduced]) -> Table:
    pds = list(dict.fromkeys(claim.pd for one in found for claim in one.claims.concordance))
    columns = [name for pd_name in pds for name in (f"τ, {term(pd_name).label}", "difference from AP2")]
    table = _table("After the last epoch of fine-tuning", "study", "pruned", "AP", *columns)
    for one in found:
        last = [c for c in one.claims.concordance if (c.compared, c.where, c.epoch) == ("methods", "", one.last)]
        taus = {(c.scope, c.ap, c.pd): c.concordance for c in last}
        tests = {(t.scope, t.first, t.pd): t.over_cells for t in one.claims.tests if t.epoch == one.last}
        for scope, ap in dict.fromkeys(key[:2] for key in taus):
            cells = []
            for name in pds:
                tau, test = taus.get((scope, ap, name)), tests.get((scope, ap, name))
                cells += ["n/a" if tau is None else spread(tau), "" if test is None else spread(test)]
            table.add_row(one.name, scope_name(scope), heading(ap), *map(escape, cells))
    return table


def _concordances(claims: Claims) -> Table:
    last = max((claim.epoch for claim in claims.concordance), default=0)
    pds = list(dict.fromkeys(claim.pd for claim in claims.concordance))
    found = {(c.scope, c.compared, c.where, c.ap, c.pd): c for c in claims.concordance if c.epoch == last}
    table = _table(
        f"Kendall's τ of AP with PD after epoch {last} [95 % over trials] (lowest to highest trial)",
        "pruned",
        "compared",
        "AP",
        *pds,
    )
    for scope, compared, where, ap in dict.fromkeys(key[:4] for key in found):
        cells = [found[scope, compared, where, ap, name].concordance for name in pds]
        table.add_row(scope_name(scope), f"{compared} {where}".strip(), heading(ap), *map(spread, cells))
    return table


def _contrasts(claims: Claims) -> Table:
    last = max((found.epoch for found in claims.contrasts), default=0)
    shown = [found for found in claims.contrasts if found.epoch == last]
    ratios = [f"{number(b.least, 2)}–{number(b.below, 2)}" for b in shown[0].bins] if shown else []
    table = _table(
        f"Pairs that AP and PD order alike, by ratio of the APs, epoch {last}", "pruned", "AP", "PD", *ratios
    )
    for found in shown:
        shares = [f"{percent(b.concordant, 0)} of {b.pairs}" for b in found.bins]
        table.add_row(scope_name(found.scope), heading(found.ap), term(found.pd).label, *shares)
    return table


def _tests(tests: Iterable[Test], title: str) -> Table:
    columns = ("pruned", "epoch", "question", "PD", "τ", "τ of the other", "τ between", "difference", "sign test")
    table = _table(title, *columns)
    for test in tests:
        pair = test.over_cells
        table.add_row(
            scope_name(test.scope),
            str(test.epoch),
            f"{heading(test.first)} − {heading(test.second)}",
            term(test.pd).label,
            number(pair.first, 2),
            number(pair.second, 2),
            number(pair.shared, 2),
            spread(pair),
            _signs(pair, test.p_adjusted),
        )
    return table


def _signs(pair: PairedTau, adjusted: float) -> str:
    return f"{pair.signs.better}:{pair.signs.worse} p {number(adjusted, 2)}"


def _failures(failures: Iterable[Failure]) -> Table:
    table = _table("Failures that the text concedes (all epochs)", "claim", "pruned", "AP", "PD", "found", "discordant")
    for failure in failures:
        answer = "n/a" if failure.found is None else "yes" if failure.found else "no"
        shares = f"{failure.discordant} of {failure.pairs}"
        names = scope_name(failure.scope), heading(failure.ap), term(failure.pd).label
        table.add_row(failure.claim, *names, answer, shares)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in columns:
        table.add_column(term(column).label if column.startswith("pd_") else column)
    return table
