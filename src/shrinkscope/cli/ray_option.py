"""``--ray [ADDRESS]``: an option of which the value may be left out."""

import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

_OPTION = "--ray"
_ADDRESS = re.compile(r"auto|local|ray://.*|[^/\\\s]+:\d+")

Ray = Annotated[
    str | None,
    typer.Option(
        _OPTION,
        metavar="[ADDRESS]",
        help="Work on a Ray cluster: HOST:PORT, ray://HOST:PORT or auto; without an address on one of this machine.",
        show_default=False,
    ),
]


class WithRay(TyperCommand):
    """A verb with ``--ray``, which typer would not let stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those after ``--`` as they are."""
        return super().parse_args(ctx, with_address(args))


def with_address(args: list[str]) -> list[str]:
    """The arguments with the local cluster where ``--ray`` is not followed by an address.

    Args:
        args: As the user wrote them; a path after ``--ray`` is none of a cluster.

    >>> with_address(["--ray", "a.safetensors", "b.safetensors"])
    ['--ray', 'local', 'a.safetensors', 'b.safetensors']
    >>> with_address(["a.npz", "b.npz", "--ray", "head:6379"]), with_address(["--ray"])
    (['a.npz', 'b.npz', '--ray', 'head:6379'], ['--ray', 'local'])
    """
    found: list[str] = []
    end = args.index("--") if "--" in args else len(args)
    for place, argument in enumerate(args):
        found.append(argument)
        if argument == _OPTION and place < end and not (args[place + 1 :] and _ADDRESS.fullmatch(args[place + 1])):
            found.append("local")
    return found
