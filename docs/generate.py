"""Write the pages of the documentation that are made from the code: the command-line reference.

python docs/generate.py           write the pages
python docs/generate.py --check   exit with an error when a page is not what the code says
"""

import os
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
HEAD = """# Command line

<!-- Made by docs/generate.py from the program's own help; do not edit. -->

Errors are one line on standard error with exit code 2; an interruption ends with exit code 130. `--json` writes JSON
to standard output and nothing else there.
"""


def help_of(*verbs: str) -> str:
    """The help text of the program or of one verb, at a width of 100 columns whatever the terminal is."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    command = [sys.executable, "-m", "shrinkscope", *verbs, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def verbs() -> list[str]:
    """The verbs of the program, in the order of its help."""
    from shrinkscope.cli import app

    return [command.callback.__name__ for command in app.registered_commands if command.callback is not None]


def command_line_page() -> str:
    """The whole page."""
    sections = [("shrinkscope", help_of()), *((f"shrinkscope {verb}", help_of(verb)) for verb in verbs())]
    return HEAD + "".join(f"\n## `{title}`\n\n```text\n{text}\n```\n" for title, text in sections)


def main() -> None:
    """Write the pages, or check them."""
    page, text = DOCS / "cli.md", command_line_page()
    if "--check" in sys.argv[1:]:
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.exit(f"{page.name} is not what the code says; run: python docs/generate.py")
        return
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
