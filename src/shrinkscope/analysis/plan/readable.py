"""What a written plan says of each row in addition: the level and how many weights stay, which follow from the rest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shrinkscope.errors import StoreError

if TYPE_CHECKING:
    from shrinkscope.analysis.plan.parts import PlanRow


def with_levels(record: dict[str, Any], rows: "Sequence[PlanRow]") -> dict[str, Any]:
    """A plan's fields with ``kept`` and ``level`` in each row, behind ``removed``.

    Args:
        record: The fields of the plan.
        rows: Its rows.
    """
    return record | {"rows": [_with_level(fields, row) for fields, row in zip(record["rows"], rows, strict=True)]}


def without_levels(record: Any) -> Any:
    """A plan as it was read, without the ``kept`` and ``level`` of its rows.

    Args:
        record: What the file holds; other things than plans come back as they are, for msgspec to refuse.

    Raises:
        StoreError: If one of them is not what ``weights`` and ``removed`` say, as after an edit by hand of it alone.
    """
    if not isinstance(record, dict) or not isinstance(record.get("rows"), list):
        return record
    return record | {"rows": [_without_level(row) for row in record["rows"]]}


def _with_level(fields: dict[str, Any], row: "PlanRow") -> dict[str, Any]:
    said = {"layer": fields["layer"], "weights": fields["weights"], "removed": fields["removed"]}
    return said | {"kept": row.kept, "level": row.level} | fields


def _without_level(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    weights, removed = row.get("weights"), row.get("removed")
    for name, stated in (("kept", row.get("kept")), ("level", row.get("level"))):
        if stated is not None and not _agrees(name, stated, weights, removed):
            raise StoreError(
                f"{name} of {row.get('layer')} is {stated!r}, but it removes {removed} of {weights} weights; "
                f"removed counts: change that, and leave {name} out"
            )
    return {name: value for name, value in row.items() if name not in ("kept", "level")}


def _agrees(name: str, stated: object, weights: object, removed: object) -> bool:
    if not all(isinstance(value, int | float) for value in (stated, weights, removed)):
        return False
    # A level may have been rounded by whoever wrote it, as long as it still names the same number of weights.
    return stated == weights - removed if name == "kept" else abs(stated * weights - removed) <= 0.5  # type: ignore[operator]
