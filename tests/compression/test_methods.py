"""Methods as configuration: decoded from TOML and JSON, told by their kind, printed in one line."""

from typing import get_args

import msgspec
import pytest

from shrinkscope.compression import (
    CompressionMethod,
    LowRank,
    MagnitudePruning,
    PruningMethod,
    RandomPruning,
    StructuredPruning,
    UniformQuantisation,
)
from shrinkscope.weights import LayerSelection

TOML = """
[[methods]]
kind = "magnitude"
level = 0.3

[[methods]]
kind = "magnitude"
level = 1
order = "highest"
scope = "global"
layers = "conv*"

[[methods]]
kind = "random"
level = 0.5
scope = "last"
layers = ["conv*", "head.weight"]

[[methods]]
kind = "structured"
level = 0.25
norm = "l2"
layers = { include = ["*"], exclude = ["head*"] }

[[methods]]
kind = "uniform_quantisation"
bits = 4
granularity = "channel"

[[methods]]
kind = "low_rank"
ratio = 0.25
"""

METHODS: list[CompressionMethod] = [
    MagnitudePruning(level=0.3),
    MagnitudePruning(level=1.0, order="highest", scope="global", layers="conv*"),
    RandomPruning(level=0.5, scope="last", layers=("conv*", "head.weight")),
    StructuredPruning(level=0.25, norm="l2", layers=LayerSelection(exclude=("head*",))),
    UniformQuantisation(bits=4, granularity="channel"),
    LowRank(ratio=0.25),
]

LINES = [
    "lowest magnitude 30 % (layer)",
    "highest magnitude 100 % (global, conv*)",
    "random 50 % (last, conv* head.weight)",
    "lowest L2 channels 25 % (layer, not head*)",
    "uniform 4 bits (channel)",
    "low rank 25 % of full",
]


class Configuration(msgspec.Struct):
    methods: list[CompressionMethod]


def test_toml() -> None:
    decoded = msgspec.toml.decode(TOML, type=Configuration).methods
    assert decoded == METHODS
    assert [hash(method) for method in decoded] == [hash(method) for method in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_json_round_trip(method: CompressionMethod) -> None:
    assert msgspec.json.decode(msgspec.json.encode(method), type=CompressionMethod) == method


def test_one_line_names_tell_methods_apart() -> None:
    assert [str(method) for method in METHODS] == LINES


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"kind": "magnitude", "level": 0.3, "oder": "highest"}, "unknown field `oder`"),
        ({"kind": "magnitude", "level": "much"}, r"Expected `float`, got `str` - at `\$\.level`"),
        ({"kind": "magnitude"}, "missing required field `level`"),
        ({"kind": "lottery", "level": 0.3}, "Invalid value 'lottery'"),
    ],
)
def test_mistakes_in_a_configuration(found: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(found, CompressionMethod)


def test_methods_are_frozen() -> None:
    for method in METHODS:
        with pytest.raises(AttributeError, match="immutable type"):
            method.layers = "other"  # type: ignore[misc]


def test_pruning_methods_are_the_ones_with_a_mask() -> None:
    assert [kind for kind in get_args(CompressionMethod) if hasattr(kind, "mask")] == list(get_args(PruningMethod))
