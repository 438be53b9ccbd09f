"""Studies by file or by name, and what the command line changes in a study."""

import difflib
from pathlib import Path

import msgspec

from shrinkscope.experiments.catalogue import shipped_path, shipped_studies
from shrinkscope.experiments.config import Study, load_study
from shrinkscope.experiments.data import Images
from shrinkscope.experiments.settings import ConfigError


def find_study(name: str) -> Study:
    """A study from a TOML file, or one that comes with the package.

    Args:
        name: Path of a .toml file, or a name in ``catalogue.shipped_studies``.

    Returns:
        The study.

    Raises:
        ConfigError: If there is neither, or the file describes no study.
    """
    path, known = Path(name), shipped_studies()
    if path.suffix == ".toml" and not path.exists() and path.stem in known:
        raise ConfigError(f"cannot read {name}: no such file; the package has a study of this name: give {path.stem}")
    if path.suffix == ".toml" or path.exists():
        return load_study(path)
    if name not in known:
        alike = difflib.get_close_matches(name, known)
        guess = f"did you mean {' or '.join(alike)}?" if alike else "give a .toml file or a name such as digits;"
        raise ConfigError(f"no study is called {name!r}; {guess} shrinkscope run --list names all")
    return load_study(shipped_path(name))


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
