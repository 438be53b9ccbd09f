"""Build hook of hatchling: compiles the kernel when the package is built or installed, also for editable installs."""

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "src/shrinkscope/kernel"


class KernelHook(BuildHookInterface):
    """Puts the compiled kernel beside its sources and into the wheel; where no compiler works, it says so."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are gathered."""
        folder = Path(self.root, FOLDER)
        # Run, not imported: the package's dependencies are not there when it is built.
        script = runpy.run_path(str(folder / "build.py"))
        reason = script["build"](folder)
        if reason is not None:
            self.app.display_warning(f"the C kernel was not built, PyTorch will take the sums instead ({reason})")
            return
        # The library is ignored by git, and hatchling leaves out what git ignores unless it is an artifact.
        build_data["artifacts"].append(f"{FOLDER}/{script['LIBRARY']}")
        # Plain C, so one wheel serves every Python, but only one kind of machine.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
