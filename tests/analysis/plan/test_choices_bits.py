"""Plans of bits: what they take, what they predict, and how they are carried out."""

import copy

import msgspec
import pytest
import torch

from references.residual import Residual
from shrinkscope.analysis.plan import Plan, plan
from shrinkscope.analysis.plan.choices import ALLOCATIONS
from shrinkscope.analysis.plan.ladder import WIDTHS
from shrinkscope.compression import UniformQuantisation
from shrinkscope.curvature import input_moments
from shrinkscope.errors import CompressionError, DataError, IntegrationError
from shrinkscope.integrations.layers import pruned_rows
from shrinkscope.performance import predictive_divergence
from shrinkscope.weights import compressible

INPUTS = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Residual().float().eval()


@pytest.fixture(scope="module")
def found(network):
    return plan(network, method="bits", size="0.3x", inputs=INPUTS, budget=2000.0)


def taken(network, made):
    """Bytes counted anew: the bits of each planned weight in whole bytes, four for each channel, all else as it is."""
    bits = {row.layer: row.bits for row in made.rows}
    total = 0
    for name, tensor in network.state_dict().items():
        if bits.get(name) is None:
            total += tensor.numel() * tensor.element_size()
        else:
            total += -(-tensor.numel() * bits[name] // 8) + 4 * tensor.shape[0]
    return total


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_plan_stays_within_its_bytes(network, allocation, share):
    dense = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    made = plan(network, method="bits", size=f"{share}x", inputs=INPUTS, allocation=allocation, budget=300.0)
    assert made.size == taken(network, made) <= round(share * dense)
    assert made.removed == 0
    assert "bits a weight" in made.summary()
    if allocation == "uniform":
        assert len({row.bits for row in made.rows}) == 1


def test_the_prediction_is_that_of_the_rounded_network_on_the_inputs_not_searched(network, found):
    rounded = copy.deepcopy(network)
    mask = found.apply(rounded)
    assert mask.removed() == 0
    for row in (row for row in found.rows if row.bits is not None):
        method = UniformQuantisation(bits=row.bits, granularity="channel")
        dense = compressible(network)[row.layer]
        assert torch.equal(compressible(rounded)[row.layer], method.compress({row.layer: dense})[row.layer])
    expected = predictive_divergence(network, rounded, INPUTS[1::2])
    # Float32: the same operations from a held value on.
    assert found.kl.value == pytest.approx(expected.kl.value, rel=1e-4)
    assert found.disagreement.value == expected.disagreement.value
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)


def test_the_search_is_no_worse_than_its_start_on_what_it_was_not_shown(network, found):
    start = plan(network, method="bits", size="0.3x", inputs=INPUTS, allocation=found.start)
    distances = []
    for made in (found, start):
        rounded = copy.deepcopy(network)
        made.apply(rounded)
        distances.append(predictive_divergence(network, rounded, INPUTS[1::2]).total_variation.value)
    assert distances[0] <= distances[1]


def test_what_is_named_as_well_is_as_good(network, found):
    def kl(made):
        changed = copy.deepcopy(network)
        made.apply(changed)
        return predictive_divergence(network, changed, INPUTS[1::2]).kl.value

    widths, named = [None, *WIDTHS], 0
    for at, row in enumerate(found.rows):
        now = widths.index(row.bits)
        for beside in {max(0, now - 1), min(len(widths) - 1, now + 1)} - {now}:
            bits = widths[beside]
            rows = list(found.rows)
            rows[at] = msgspec.structs.replace(row, bits=bits)
            moved = abs(kl(msgspec.structs.replace(found, rows=tuple(rows))) - found.kl.value)
            said = (f"{bits} bits" if bits else "as it is") in row.near
            named += said
            # On the front of price against cost a neighbour may be skipped; what is named is as good.
            assert not said or moved < found.kl.standard_error * (1 + 1e-4)
    assert named


def test_the_same_arguments_give_the_same_plan(network, found):
    assert plan(network, method="bits", size="0.3x", inputs=INPUTS, budget=2000.0) == found


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_plan_is_read_as_it_was_written(found, tmp_path, suffix):
    found.save(tmp_path / f"plan{suffix}")
    assert Plan.load(tmp_path / f"plan{suffix}") == found


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_drop_is_kept_by_fewer_bytes(network, allocation):
    sizes = []
    for drop in (0.1, 0.4):
        made = plan(network, method="bits", max_drop=drop, inputs=INPUTS, allocation=allocation, budget=600.0)
        assert made.disagreement.value <= drop
        assert made.verdict == "reached"
        sizes.append(made.size)
    assert sizes[1] < sizes[0] < sum(tensor.numel() * 4 for tensor in network.state_dict().values())


def test_the_curve_goes_through_the_choice(found):
    here = [point for point in found.curve if point.size == found.size]
    assert [point.kl for point in here] == [found.kl]
    assert [point.size for point in found.curve] == sorted((point.size for point in found.curve), reverse=True)


def test_a_whole_size_leaves_the_network_as_it_is(network):
    made = plan(network, method="bits", size="1x", inputs=INPUTS, allocation="additive")
    assert {row.bits for row in made.rows} == {None}
    assert made.kl.value == 0.0


def test_without_inputs_all_layers_get_the_widest_that_fits(network):
    made = plan(network, method="bits", size="0.3x", allocation="uniform")
    assert made.kl is None
    (bits,) = {row.bits for row in made.rows}
    wider = WIDTHS[WIDTHS.index(bits) - 1]
    rows = tuple(type(row)(layer=row.layer, weights=row.weights, removed=0, bits=wider) for row in made.rows)
    dense = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    assert taken(network, made) <= 0.3 * dense < taken(network, Plan(rows=rows, settings=made.settings))


def test_what_is_refused(network, found):
    with pytest.raises(CompressionError, match=r"bits change no sparsity; method='bits' expects size=… or max_drop=…"):
        plan(network, method="bits", sparsity=0.5)
    with pytest.raises(CompressionError, match="bits change no flops"):
        plan(network, method="bits", flops=0.5)
    with pytest.raises(CompressionError, match="method='bits' removes none, or others: leave it out"):
        plan(network, method="bits", size="0.5x", compensate=True, inputs=INPUTS)
    with pytest.raises(CompressionError, match="allocation 'erk' chooses no bits; expected one of joint, additive"):
        plan(network, method="bits", size="0.5x", allocation="erk")
    with pytest.raises(CompressionError, match=r"size = 10 bytes cannot be reached: with 2 bits everywhere"):
        plan(network, method="bits", size=10, allocation="uniform")
    with pytest.raises(DataError, match="allocation 'joint' needs inputs: give inputs=… or shape=…"):
        plan(network, method="bits", size="0.5x")
    with pytest.raises(DataError, match="max_drop needs inputs"):
        plan(network, method="bits", max_drop=0.1, allocation="uniform")
    with pytest.raises(CompressionError, match="a plan of bits removes nothing, so it has no mask"):
        found.mask(network)
    with pytest.raises(CompressionError, match="precisions are for weights that go one by one; this plan is one of"):
        found.apply(network, precisions=input_moments(network, INPUTS).precisions())
    with pytest.raises(IntegrationError, match="the plan is one of bits: what is exported is pruning"):
        pruned_rows(found)


def test_mean_bits(network):
    made = plan(network, method="bits", bits=3.5, inputs=INPUTS, budget=300.0)
    mean = sum((row.bits or 32) * row.weights for row in made.rows) / made.weights
    # A weight more on the next width would be too much: the smallest layer has 20, the rest is within reach.
    assert 3.0 < mean <= 3.5
    assert plan(network, method="bits", bits=32, allocation="uniform").rows[0].bits is None
    with pytest.raises(CompressionError, match=r"bits = 1 cannot be reached: with 2 bits .* 2\.00 a weight"):
        plan(network, method="bits", bits=1, allocation="uniform")
    with pytest.raises(CompressionError, match="bits = -1; expected a positive mean number of bits, with"):
        plan(network, method="bits", bits=-1)
    with pytest.raises(CompressionError, match="bits = 4; expected a positive mean number of bits, with"):
        plan(network, method="low_rank", bits=4)
