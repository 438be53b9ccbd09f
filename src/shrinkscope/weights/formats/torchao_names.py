"""torchao's tensors in a safetensors file, whose parts are stored apart and joined by text in the header."""

import importlib.util
import json
from collections.abc import Iterable
from typing import Any

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.bits import demand
from shrinkscope.weights.formats.checks import first_line, shown
from shrinkscope.weights.formats.packed import Group
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.view import TensorView


class Torchao:
    """The format: ``M._weight_qdata``, ``M._weight_scale``, … make ``M.weight``, of one of torchao's classes."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every tensor that the header's text says has parts."""
        for name, text in stored.metadata.items():
            told = _told(text)
            parts = told.get("_tensor_data_names") if isinstance(told, dict) else None
            module, _, attribute = name.rpartition(".")
            if not isinstance(parts, list) or not module:
                continue
            names = {str(part): f"{module}._{attribute}_{part}" for part in parts}
            if names and all(one in stored.views for one in names.values()):
                yield Group(name=name, parts={part: stored.views[one] for part, one in names.items()})

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight as torchao dequantises it; its parts are held in memory, or mapped, as they are stored."""
        told = _told(stored.metadata[group.name])
        demand(
            isinstance(told, dict) and isinstance(told.get("_data"), dict),
            "the header's text about it is not torchao's",
        )
        if importlib.util.find_spec("torchao") is None:
            raise WeightsError(
                f"it is a {shown(told.get('_type'))} of torchao, which is not installed; install torchao"
            )
        from torchao.prototype.safetensors.safetensors_utils import object_from_dict

        from shrinkscope.weights.formats.mapping import view

        data = {**told["_data"], **{part: one.read() for part, one in group.parts.items()}}
        try:
            return view(group.name, object_from_dict({**told, "_data": data}))
        except (ValueError, TypeError, AttributeError, RuntimeError, LookupError, AssertionError) as error:
            raise WeightsError(
                f"torchao cannot restore its {shown(told.get('_type'))} ({first_line(error)})"
            ) from error


def _told(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # Other text of the header, which is nobody's JSON.
