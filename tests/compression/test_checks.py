"""What methods refuse, and how they say it."""

import math
import re

import msgspec
import numpy as np
import pytest
import torch

from shrinkscope.compression import (
    CompressionMethod,
    LowRank,
    MagnitudePruning,
    RandomPruning,
    StructuredPruning,
    UniformQuantisation,
)
from shrinkscope.compression.checks import listing, percent
from shrinkscope.errors import CompressionError
from shrinkscope.weights import LayerSelection


@pytest.mark.parametrize("method", [MagnitudePruning, RandomPruning, StructuredPruning])
@pytest.mark.parametrize("level", [-0.1, 1.5, math.nan, math.inf, "0.3", None, True])
def test_level_outside_zero_to_one(method: type, level: object) -> None:
    with pytest.raises(CompressionError, match=re.escape(f"level is {level!r}; expected a fraction between 0 and 1")):
        method(level=level)


def test_level_in_a_configuration_file() -> None:
    with pytest.raises(CompressionError, match=r"level is 30\.0; expected a fraction between 0 and 1, such as 0\.3"):
        msgspec.convert({"kind": "magnitude", "level": 30}, CompressionMethod)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (MagnitudePruning, {"level": 0.3, "order": "random"}, "order is 'random'; expected one of lowest, highest"),
        (MagnitudePruning, {"level": 0.3, "scope": "first"}, "scope is 'first'; expected one of layer, global, last"),
        (RandomPruning, {"level": 0.3, "scope": "all"}, "scope is 'all'; expected one of layer, global, last"),
        (StructuredPruning, {"level": 0.3, "norm": "l3"}, "norm is 'l3'; expected one of l1, l2"),
        (StructuredPruning, {"level": 0.3, "scope": ""}, "scope is ''; expected one of"),
        (StructuredPruning, {"level": 0.3, "order": "big"}, "order is 'big'; expected one of lowest, highest, random"),
        (UniformQuantisation, {"bits": 4, "granularity": "row"}, "granularity is 'row'; expected one of tensor, chan"),
        (MagnitudePruning, {"level": 0.3, "layers": 5}, r"layers is 5; expected a glob such as 'conv\*'"),
        (MagnitudePruning, {"level": 0.3, "layers": ["a", 5]}, r"layers is \['a', 5\]; expected a glob"),
    ],
)
def test_unknown_options(method: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        method(**options)


@pytest.mark.parametrize("bits", [0, 17, -1, 2.0, "4", True])
def test_bits_out_of_range(bits: object) -> None:
    with pytest.raises(CompressionError, match=f"bits is {bits!r}; expected a whole number between 1 and 16"):
        UniformQuantisation(bits=bits)  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [0, -3, 1.5])
def test_rank_out_of_range(rank: object) -> None:
    with pytest.raises(CompressionError, match=f"rank is {rank!r}; expected a whole number of at least 1"):
        LowRank(rank=rank)  # type: ignore[arg-type]


def test_numpy_scalars_are_taken_as_what_they_are() -> None:
    assert MagnitudePruning(level=np.float64(0.5)) == MagnitudePruning(level=0.5)
    assert UniformQuantisation(bits=np.int64(4)) == UniformQuantisation(bits=4)  # type: ignore[arg-type]
    assert type(UniformQuantisation(bits=np.int64(4)).bits) is int  # type: ignore[arg-type]


def test_layers_become_hashable() -> None:
    method = MagnitudePruning(level=0.5, layers=["conv*", "head*"])
    assert method.layers == ("conv*", "head*")
    assert hash(method) == hash(MagnitudePruning(level=0.5, layers=("conv*", "head*")))


every_method = [
    MagnitudePruning(level=0.5),
    StructuredPruning(level=0.5),
    UniformQuantisation(bits=4),
    LowRank(rank=1),
]


@pytest.mark.parametrize("method", every_method, ids=str)
def test_nan_and_infinite_weights(method: CompressionMethod) -> None:
    weight = torch.ones(3, 4)
    weight[0, 1], weight[2, 2] = math.nan, -math.inf
    with pytest.raises(CompressionError, match=r"fc\.weight has 2 NaN or infinite values of 12"):
        method.compress({"good.weight": torch.ones(2, 2), "fc.weight": weight})


@pytest.mark.parametrize("method", [*every_method, RandomPruning(level=0.5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_types_without_a_floating_point_magnitude(method: CompressionMethod, dtype: torch.dtype) -> None:
    found = str(dtype).removeprefix("torch.")
    with pytest.raises(CompressionError, match=rf"fc\.weight holds {found} values; expected one of float16, bfloat16"):
        method.compress({"fc.weight": torch.ones(3, 4).to(dtype)}, torch.Generator())


def test_random_channels_of_integers() -> None:
    with pytest.raises(CompressionError, match=r"fc\.weight holds int8 values"):
        StructuredPruning(level=0.5, order="random").mask({"fc.weight": torch.ones(3, 4, dtype=torch.int8)})


@pytest.mark.parametrize(
    "method",
    [StructuredPruning(level=0.5), LowRank(rank=1), UniformQuantisation(bits=4, granularity="channel")],
    ids=str,
)
def test_a_single_number_has_no_channels(method: CompressionMethod) -> None:
    with pytest.raises(CompressionError, match="scale is a single number without output channels"):
        method.compress({"scale": torch.tensor(2.0)})


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.3, "30 %"), (0.0, "0 %"), (1.0, "100 %"), (0.125, "12.5 %"), (1e-7, "0.00001 %")]
)
def test_percent_keeps_all_digits(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_long_lists_of_names_stay_one_line() -> None:
    assert listing([]) == "none"
    assert listing(f"layer{i}" for i in range(15)).endswith("layer11 and 3 more")


@pytest.mark.parametrize(
    ("layers", "tail"),
    [
        (None, "layer"),
        ("conv*", "layer, conv*"),
        (("a", "b"), "layer, a b"),
        (LayerSelection(exclude=("head*",), roles=("linear",)), "layer, not head*, roles linear"),
    ],
)
def test_the_name_of_a_method_tells_its_layers(layers, tail: str) -> None:
    assert str(MagnitudePruning(level=0.3, layers=layers)) == f"lowest magnitude 30 % ({tail})"
