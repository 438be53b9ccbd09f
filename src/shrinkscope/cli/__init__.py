"""The command line: verbs over files. Nothing heavy is imported before a verb runs."""

import sys
from typing import Annotated, NoReturn

import typer

from shrinkscope.cli.blocks import blocks
from shrinkscope.cli.claims import claims
from shrinkscope.cli.demo import demo
from shrinkscope.cli.diff import diff
from shrinkscope.cli.explain import explain
from shrinkscope.cli.export import export
from shrinkscope.cli.figures import figures
from shrinkscope.cli.plan import plan, prune
from shrinkscope.cli.ray_option import WithRay
from shrinkscope.cli.run import run
from shrinkscope.cli.runs import runs
from shrinkscope.cli.scan import scan
from shrinkscope.cli.theory import theory
from shrinkscope.errors import ShrinkscopeError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, likewise

app = typer.Typer(
    name="shrinkscope",
    help="Explain layer by layer what compression did to a neural network.",
    epilog="Start with: shrinkscope demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from shrinkscope.version import version

        typer.echo(f"shrinkscope {version()}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command()(demo)
app.command(cls=WithRay)(diff)
app.command()(explain)
app.command()(scan)
app.command()(plan)
app.command()(prune)
app.command()(export)
app.command(cls=WithRay)(run)
app.command()(runs)
app.command()(figures)
app.command()(claims)
app.command()(theory)
app.add_typer(blocks)


def main() -> None:
    """Run the command line; an error is one line on standard error and exit code 2."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, prog_name="shrinkscope", standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), getattr(error, "exit_code", EXIT_ERROR))
    except ShrinkscopeError as error:
        _fail(str(error), EXIT_ERROR)
    except typer.Abort:
        _interrupted()
    except SystemExit as stop:
        # typer ends like a failed check, with 1, when the reader of our output goes away (`… | head`).
        sys.exit(EXIT_BROKEN_PIPE if isinstance(stop.__context__, BrokenPipeError) else stop.code)
    else:
        if code == EXIT_INTERRUPTED:
            _interrupted()
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    # A message from another library may span lines; ours never do.
    print(f"shrinkscope: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _interrupted() -> NoReturn:
    _fail("interrupted; what was finished is kept", EXIT_INTERRUPTED)
