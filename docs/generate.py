"""Write what the documentation takes from the code: the command-line reference, and the tables of docs/theory.md.

python docs/generate.py           write the command-line reference
python docs/generate.py --check   exit with an error when it is not what the code says
python docs/generate.py --theory [ARGUMENTS]
                                  write the tables that `shrinkscope theory ARGUMENTS` gives, a minute
python docs/generate.py --reproduction [STORE]
                                  write docs/reproduction.md and its pictures, half a minute: from a store of records,
                                  which is exported to docs/reproduction.parquet, or from that export
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
HEAD = """# Command line

<!-- Made by docs/generate.py from the program's own help; do not edit. -->

Errors are one line on standard error with exit code 2; an interruption ends with exit code 130. `--json` writes JSON
to standard output and nothing else there.
"""

METRICS = ("ap*", "pd_*", "accuracy_*")
# Which figures of the paper are shown, by the study that they are drawn from.
FIGURES = {
    "resnet20-cifar10_jpeg": ("figure-02a", "figure-05a"),
    "resnet32-cifar10_jpeg": ("figure-02a",),
    "resnet56-cifar10_jpeg": ("figure-02a",),
    "efficientnet_lite0-cifar10_jpeg-small": ("figure-02a",),
    "efficientnet_lite0-tiny_imagenet": ("figure-04a",),
}

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def help_of(*verbs: str) -> str:
    """The help text of the program or of one verb, at a width of 100 columns whatever the terminal is."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    command = [sys.executable, "-m", "shrinkscope", *verbs, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def verbs() -> list[tuple[str, ...]]:
    """The verbs of the program, in the order of its help, and those of its groups of verbs."""
    from shrinkscope.cli import app

    found = [(command.callback.__name__,) for command in app.registered_commands if command.callback is not None]
    groups = [group.typer_instance for group in app.registered_groups]
    inner = [(str(group.info.name), str(one.name)) for group in groups if group for one in group.registered_commands]
    return [*found, *inner]


def command_line_page() -> str:
    """The whole page."""
    sections = [("shrinkscope", help_of()), *((f"shrinkscope {' '.join(verb)}", help_of(*verb)) for verb in verbs())]
    return HEAD + "".join(f"\n## `{title}`\n\n```text\n{text}\n```\n" for title, text in sections)


def write_theory(arguments: list[str]) -> None:
    """Put the tables of the statements between the markers of docs/theory.md."""
    page = DOCS / "theory.md"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "theory.md"
        command = [sys.executable, "-m", "shrinkscope", "theory", *arguments, "--out", str(table)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        made = table.read_text(encoding="utf-8")
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    page.write_text(f"{before}{begin}\n\n{made}\n{end}{after}", encoding="utf-8")


def reproduction_page(pictures: bool = False, only: str | None = None) -> str:
    """The page of the reproduction from its exported records; with its pictures, or for one study alone."""
    from shrinkscope.experiments.exported import read_export
    from shrinkscope.report.reproduced import study_of
    from shrinkscope.report.reproduction import reproduction_page as page

    runs, records = read_export(DOCS / "reproduction.parquet")
    there = set(records.loc[records["method"] != "dense", "run"])
    chosen = [run for run in runs if run.run in there and only in (None, study_of(run))]
    if pictures:
        for run in chosen:
            draw_figures(run, records.loc[records["run"] == run.run])
    shown = {
        name: "\n\n".join(
            f"![{figure.replace('-', ' ')} of the paper, from this study](images/{picture_of(name, figure)})"
            for figure in figures
        )
        for name, figures in FIGURES.items()
    }
    return page(chosen, records, (DOCS / "reproduction-head.txt").read_text(encoding="utf-8"), shown)


def draw_figures(run, records) -> None:
    """Draw the figures of the paper that are shown from one run."""
    from shrinkscope.report.figures.paper import BLOCKS, figure_names, paper_figure
    from shrinkscope.report.figures.paper_runs import source_of
    from shrinkscope.report.reproduced import study_of

    blocks = dict(zip(figure_names(BLOCKS), BLOCKS, strict=True))
    for name in FIGURES.get(study_of(run), ()):
        picture = paper_figure(blocks[name], source_of(run.run, run.config), records)
        if isinstance(picture, str):
            sys.exit(f"{name}: {picture}")
        picture.write(DOCS / "images" / picture_of(study_of(run), name))


def picture_of(study: str, figure: str) -> str:
    """The file of a figure of the paper, drawn from a study."""
    return f"{study}-{figure}.png"


def write_reproduction(store: str | None) -> None:
    """Export a store, if one is given, and write the page and its pictures."""
    if store is not None:
        from shrinkscope.experiments.exported import chosen_rows, write_export
        from shrinkscope.experiments.store import Store
        from shrinkscope.report.reproduced import study_of

        with Store(store, create=False) as opened:
            found, records = opened.runs(), opened.records()
        there = set(records.loc[records["method"] != "dense", "run"])
        names = {study_of(run) for run in found if run.run in there}
        # A small study that was also run in full would count twice among the studies.
        runs = [run for run in found if not (study_of(run).endswith("-small") and study_of(run)[:-6] in names)]
        kept = records.loc[records["run"].isin([run.run for run in runs])]
        write_export(DOCS / "reproduction.parquet", runs, chosen_rows(kept, METRICS, totals=True))
    (DOCS / "reproduction.md").write_text(reproduction_page(pictures=True), encoding="utf-8")


def main() -> None:
    """Write the pages, or check them."""
    if sys.argv[1:2] == ["--theory"]:
        write_theory(sys.argv[2:])
        return
    if sys.argv[1:2] == ["--reproduction"]:
        write_reproduction(next(iter(sys.argv[2:]), None))
        return
    page, text = DOCS / "cli.md", command_line_page()
    if "--check" in sys.argv[1:]:
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.exit(f"{page.name} is not what the code says; run: python docs/generate.py")
        return
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
