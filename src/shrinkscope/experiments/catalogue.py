"""The studies that come with the package, by name; nothing heavy is imported to list them."""

from importlib.resources import files
from pathlib import Path


def shipped_studies() -> dict[str, str]:
    """Names of the studies that come with the package, sorted, and what each is: the first line of its file."""
    return {path.stem: _first_line(path) for path in sorted(_folder().glob("*.toml"), key=lambda path: path.stem)}


def shipped_path(name: str) -> Path:
    """The file of a study that comes with the package.

    Args:
        name: A name in ``shipped_studies``.
    """
    return _folder() / f"{name}.toml"


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip().rstrip(".")


def _folder() -> Path:
    return Path(str(files("shrinkscope.experiments") / "files"))
