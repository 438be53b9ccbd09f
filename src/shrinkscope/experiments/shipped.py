"""The studies that come with the package, and what the command line changes in a study."""

from importlib.resources import files
from pathlib import Path

import msgspec

from shrinkscope.experiments.config import Study, load_study
from shrinkscope.experiments.data import Images
from shrinkscope.experiments.settings import ConfigError


def shipped_studies() -> list[str]:
    """Names of the studies that come with the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def find_study(name: str) -> Study:
    """A study from a TOML file, or one that comes with the package.

    Args:
        name: Path of a .toml file, or a name in ``shipped_studies``.

    Returns:
        The study.

    Raises:
        ConfigError: If there is neither, or the file describes no study.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return load_study(path)
    if name not in shipped_studies():
        raise ConfigError(f"no study is called {name!r}; give a .toml file, or one of {', '.join(shipped_studies())}")
    return load_study(_folder() / f"{name}.toml")


def placed(study: Study, data: str | None, weights: str | None) -> Study:
    """A study with the places of its data and weights.

    Args:
        study: The study.
        data: Folder of the data; None leaves what the study says. The digits are installed and need none.
        weights: File of weights, or a folder that holds the file which the study names; None likewise.

    Returns:
        The study.
    """
    changes: dict[str, object] = {}
    if data is not None and isinstance(study.data, Images):
        changes["data"] = msgspec.structs.replace(study.data, root=data)
    if weights is not None and study.network != "digits":
        named = Path(weights) / Path(study.weights or "").name
        changes["weights"] = str(named if Path(weights).is_dir() and study.weights and named.is_file() else weights)
    return msgspec.structs.replace(study, **changes) if changes else study


def _folder() -> Path:
    return Path(str(files("shrinkscope.experiments") / "files"))
