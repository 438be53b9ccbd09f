"""What rungs take: against tensors written to a file, and products counted as the layers run."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shrinkscope.analysis.plan.carrying import carried_out, kept_of
from shrinkscope.analysis.plan.ladder import LEVELS, PATTERNS, SHARES, WIDTHS, hopeful, ladder
from shrinkscope.analysis.plan.method_names import as_methods
from shrinkscope.compression import LowRank, MagnitudePruning, PatternPruning, UniformQuantisation
from shrinkscope.errors import CompressionError

WEIGHT = torch.randn(12, 16, 3, 3, generator=torch.Generator().manual_seed(0))


def rungs(*methods, weight=WEIGHT, groups=1):
    return ladder("w", weight, methods, groups)


def packed_bits(flags):
    """Bytes that hold a bit each."""
    flat = torch.nn.functional.pad(flags.flatten().int(), (0, -flags.numel() % 8)).view(-1, 8)
    return (flat << torch.arange(8)).sum(dim=1).to(torch.uint8)


def stored(rung):
    """The tensors that a rung has to store."""
    if rung.rank is not None:
        return dict(LowRank(rank=rung.rank).factors("w", WEIGHT)._asdict())
    kept = kept_of("w", WEIGHT, rung)
    values = WEIGHT[kept]
    parts = {} if not rung.removed else {"mask": packed_bits(kept)}
    if rung.bits is None:
        return parts | {"values": values}
    method = UniformQuantisation(bits=rung.bits, granularity="channel")
    step = method.step("w", carried_out("w", WEIGHT, rung)).float()
    codes = torch.round(WEIGHT / step.view(-1, 1, 1, 1))[kept].long() + 2**rung.bits // 2
    planes = codes[:, None] >> torch.arange(rung.bits) & 1
    return parts | {"codes": packed_bits(planes), "step": step}


@pytest.mark.parametrize("methods", [("magnitude",), ("n:m",), ("low_rank",), ("bits",), ("magnitude", "bits")])
def test_bytes_are_those_of_the_tensors_written(methods, tmp_path):
    for rung in rungs(*methods)[::3]:
        parts = {name: part.float() if part.is_floating_point() else part for name, part in stored(rung).items()}
        save_file({name: part.contiguous() for name, part in parts.items()}, tmp_path / "w.safetensors")
        whole = (tmp_path / "w.safetensors").read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        assert len(whole) - header == rung.bytes, rung


@pytest.mark.parametrize("groups", [1, 4])
def test_products_are_those_of_the_convolutions_that_take_its_place(groups):
    weight = WEIGHT[:, : 16 // groups]
    inputs, products = torch.randn(1, 16, 5, 5), 0
    dense = nn.Conv2d(16, 12, 3, groups=groups, bias=False)
    dense.weight = nn.Parameter(weight)
    places = dense(inputs)[0, 0].numel()

    def count(module, given, out):
        nonlocal products
        products += out[0].numel() * module.weight[0].numel()

    for rung in rungs("low_rank", weight=weight, groups=groups)[1:]:
        left, right = LowRank(rank=rung.rank).factors("w", weight)
        # Each group's own inputs go through the whole right factor; then each row of the left one mixes its group's.
        first = nn.Conv2d(16, groups * rung.rank, 3, groups=groups, bias=False)
        second = nn.Conv2d(groups * rung.rank, 12, 1, groups=groups, bias=False)
        first.weight = nn.Parameter(right.float().view(rung.rank, -1, 3, 3).repeat(groups, 1, 1, 1))
        second.weight = nn.Parameter(left.float().view(12, rung.rank, 1, 1))
        for layer in (first, second):
            layer.register_forward_hook(count)
        products = 0
        out = second(first(inputs))
        assert products == rung.products * places
        assert rung.numbers == left.numel() + right.numel() < weight.numel()
        dense.weight = nn.Parameter(carried_out("w", weight, rung))
        # Float32, sums of at most 144 products of order 1 in another order.
        assert torch.allclose(out, dense(inputs), atol=1e-4)


def test_rungs_are_what_the_methods_do():
    assert [rung.level for rung in rungs("magnitude")[1:]] == [f"{100 * level:.0f} %" for level in LEVELS]
    assert [rung.pattern for rung in rungs("n:m")[1:]] == [*PATTERNS]
    assert [rung.bits for rung in rungs("bits")[1:]] == [*WIDTHS]
    ranks = [max(1, int(share * WEIGHT.numel() / (12 + 144))) for share in SHARES]
    assert [rung.rank for rung in rungs("low_rank")[1:]] == list(dict.fromkeys(ranks))
    for rung, level in zip(rungs("magnitude")[1:], LEVELS, strict=True):
        expected = MagnitudePruning(level=level).compress({"w": WEIGHT})["w"]
        assert torch.equal(carried_out("w", WEIGHT, rung), expected)
        assert rung.products == rung.numbers == int(expected.count_nonzero())
    (_, both) = ladder("w", WEIGHT, ("2:4",))
    assert torch.equal(carried_out("w", WEIGHT, both), PatternPruning(pattern="2:4").compress({"w": WEIGHT})["w"])
    last = rungs("magnitude", "bits")[-1]
    pruned = MagnitudePruning(level=LEVELS[-1]).compress({"w": WEIGHT})
    rounded = UniformQuantisation(bits=WIDTHS[-1], granularity="channel").compress(pruned)["w"]
    assert last.method == "magnitude+bits"
    assert torch.equal(carried_out("w", WEIGHT, last), rounded)


def test_what_saves_nothing_is_not_there():
    # A row of three inputs has no group of four, and two factors of a 3 × 2 matrix take 5 of its 6 numbers.
    narrow = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert len(ladder("w", narrow, ("2:4",))) == 1
    assert [rung.rank for rung in ladder("w", narrow[:3, :2], ("low_rank",))] == [None, 1]
    assert [rung.rank for rung in ladder("w", narrow[:2, :2], ("low_rank",))] == [None]


def test_hopeless_rungs_are_those_that_another_betters_clearly():
    found = rungs("magnitude", "bits")
    worth = hopeful("w", WEIGHT, found)
    errors = [float((carried_out("w", WEIGHT, rung) - WEIGHT).square().sum()) for rung in found]
    for at, rung in enumerate(found):
        rivals = [n for n, o in enumerate(found) if o.bytes <= rung.bytes and o.products <= rung.products]
        assert (at in worth) == (at == 0 or not any(2 * errors[n] < errors[at] for n in rivals))
    assert 0 < len(worth) < len(found)


def test_names_of_methods():
    assert as_methods("unstructured") == as_methods(["magnitude"]) == ("unstructured",)
    assert as_methods("unstructured, bits") == ("magnitude", "bits")
    assert as_methods("2:4") == ("2:4",)
    with pytest.raises(CompressionError, match="method 'wild' cannot be planned; expected one of unstructured"):
        as_methods("wild")
    with pytest.raises(CompressionError, match="method bits is given twice"):
        as_methods(["bits", "bits"])
    with pytest.raises(CompressionError, match="no method is given"):
        as_methods([])
