"""Writing into a model: bitwise what the methods compute, identities kept, all or nothing."""

import copy
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from references.pruning import count
from shrinkscope.compression import (
    CompressionMethod,
    LowRank,
    MagnitudePruning,
    Mask,
    PruningMethod,
    RandomPruning,
    StructuredPruning,
    UniformQuantisation,
    apply_mask,
    compress,
    hold,
    prune,
)
from shrinkscope.errors import CompressionError
from shrinkscope.weights import compressible

METHODS: list[CompressionMethod] = [
    MagnitudePruning(level=0.3),
    MagnitudePruning(level=0.8, order="highest", scope="global"),
    MagnitudePruning(level=0.5, scope="last"),
    RandomPruning(level=0.5, scope="global"),
    StructuredPruning(level=0.5, norm="l2", layers="conv*"),
    StructuredPruning(level=0.5, order="random"),
    UniformQuantisation(bits=1),
    UniformQuantisation(bits=4, granularity="channel"),
    LowRank(rank=2),
    LowRank(energy=0.7, layers=["hidden.*", "head.*"]),
]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def bits(tensor: Tensor) -> bytes:
    """The memory of a tensor: tells +0 from -0."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_model_gets_bit_by_bit_what_the_method_computes(
    network: nn.Module, method: CompressionMethod, dtype: torch.dtype
) -> None:
    network.to(dtype)
    expected = method.compress({name: w.clone() for name, w in compressible(network).items()}, seeded())
    others = {name: bits(value) for name, value in network.state_dict().items() if name not in expected}
    before = {name: (id(p), p.dtype, p.requires_grad, p.data_ptr()) for name, p in network.named_parameters()}
    mask = compress(network, method, generator=seeded())
    written = compressible(network)
    assert {name: bits(w) for name, w in written.items()} == {name: bits(w) for name, w in expected.items()}
    assert {name: bits(value) for name, value in network.state_dict().items() if name not in expected} == others
    after = {name: (id(p), p.dtype, p.requires_grad, p.data_ptr()) for name, p in network.named_parameters()}
    assert after == before
    assert isinstance(mask, Mask) == isinstance(method, PruningMethod)


@pytest.mark.parametrize("method", [m for m in METHODS if isinstance(m, PruningMethod)], ids=str)
def test_prune_returns_the_mask_that_the_model_now_shows(network: nn.Module, method: PruningMethod) -> None:
    expected = method.mask(compressible(network), seeded())
    mask = prune(network, method, generator=seeded())
    assert mask == expected
    weights = compressible(network)
    # No weight of a freshly initialised layer is zero by itself.
    assert {name: int((weights[name] == 0).sum()) for name in mask} == {name: mask.removed(name) for name in mask}


def test_frozen_parameters_stay_frozen(network: nn.Module) -> None:
    weight = network.get_parameter("head.weight").requires_grad_(False)
    for method in (MagnitudePruning(level=0.5), UniformQuantisation(bits=3)):
        compress(network, method)
        assert network.get_parameter("head.weight") is weight
        assert not weight.requires_grad


def test_pruning_again_starts_from_the_zeros(network: nn.Module) -> None:
    first = prune(network, MagnitudePruning(level=0.3))
    second = prune(network, MagnitudePruning(level=0.5))
    for name in first:
        assert not (second[name] & ~first[name]).any()
        assert second.removed(name) == count(0.5, second.size(name))


def test_a_mask_of_ones_own(network: nn.Module) -> None:
    bias = network.get_parameter("hidden.bias")
    kept = torch.ones(12)
    kept[3] = 0
    mask = Mask({"hidden.bias": kept})
    assert prune(network, mask) is mask
    assert bias[3] == 0
    assert int((bias == 0).sum()) == 1


def test_tied_weights_are_ranked_once_and_pruned_everywhere(tied: nn.Module) -> None:
    mask = prune(tied, MagnitudePruning(level=0.4, scope="global"))
    assert list(mask) == ["encode.weight"]
    assert mask.removed() == 10
    encode, decode = tied.get_parameter("encode.weight"), tied.get_parameter("decode.weight")
    assert encode is decode
    assert int((decode == 0).sum()) == 10


def test_a_tied_weight_goes_by_any_of_its_names(tied: nn.Module) -> None:
    kept = torch.rand(5, 5, generator=seeded()) < 0.5
    apply_mask(tied, Mask({"decode.weight": kept, "encode.weight": kept}))
    assert torch.equal(tied.get_parameter("encode.weight") != 0, kept)
    with pytest.raises(
        CompressionError, match=r"decode\.weight and encode\.weight are one tied weight, but the mask dec"
    ):
        apply_mask(tied, Mask({"decode.weight": kept, "encode.weight": ~kept}))


def test_structured_pruning_leaves_biases(network: nn.Module) -> None:
    bias = network.get_parameter("conv.bias").clone()
    prune(network, StructuredPruning(level=0.5, layers="conv*"))
    weight = network.get_parameter("conv.weight")
    assert int((weight.flatten(1) == 0).all(1).sum()) == 3
    assert torch.equal(network.get_parameter("conv.bias"), bias)


def test_structured_pruning_of_a_transposed_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 6, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        CompressionError, match=r"1\.weight: the output channels of a transposed convolution are dimension"
    ):
        prune(model, StructuredPruning(level=0.5))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    prune(model, StructuredPruning(level=0.5, layers="0.*"))
    prune(model, MagnitudePruning(level=0.5))


def bad_masks() -> list[tuple[Mask, str]]:
    good = {"conv.weight": torch.zeros(6, 1, 3, 3)}
    return [
        (
            Mask({**good, "tail.weight": torch.zeros(2)}),
            "Sequential has no weight 'tail.weight'; its weights are conv.w",
        ),
        (
            Mask({**good, "conv.nothing": torch.zeros(2)}),
            "Sequential has no weight 'conv.nothing'; its weights are conv",
        ),
        (Mask({**good, "head.bias": torch.zeros(4)}), "Sequential has no weight 'head.bias'"),
        (
            Mask({**good, "head.weight": torch.zeros(4, 11)}),
            "the mask of head.weight has shape (4, 11), the weight (4, 12)",
        ),
        (
            Mask({**good, "norm.running_mean": torch.zeros(6)}),
            "norm.running_mean is no parameter but a buffer or a com",
        ),
    ]


@pytest.mark.parametrize("act", [apply_mask, hold, prune])
@pytest.mark.parametrize(("mask", "message"), bad_masks(), ids=[message for _, message in bad_masks()])
def test_a_mask_that_does_not_fit_changes_nothing(network: nn.Module, act, mask: Mask, message: str) -> None:
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(CompressionError, match=re.escape(message)):
        act(network, mask)
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def held(network: nn.Module) -> None:
    hold(network, Mask({"head.weight": torch.ones(4, 12)}))


def pruned_by_torch(network: nn.Module) -> None:
    torch_prune.l1_unstructured(network.get_submodule("head"), "weight", amount=0.5)


def pruned_by_torch_before_any_forward_pass(network: nn.Module) -> None:
    pruned_by_torch(network)
    del network.get_submodule("head").weight


def weight_normed(network: nn.Module) -> None:
    parametrizations.weight_norm(network.get_submodule("head"))


@pytest.mark.parametrize("method", [MagnitudePruning(level=0.5), UniformQuantisation(bits=4)], ids=str)
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (held, r"head\.weight is held by a mask already; release\(model\) first"),
        (
            pruned_by_torch,
            r"head\.weight is pruned by torch\.nn\.utils\.prune; make that permanent first: prune\.remove",
        ),
        (weight_normed, r"head\.weight is parametrised by _WeightNorm; .*remove_parametrizations it first"),
    ],
)
def test_weights_that_are_computed_from_others(network: nn.Module, prepare, message: str, method) -> None:
    prepare(network)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(CompressionError, match=message):
        compress(network, method)
    with pytest.raises(CompressionError, match=message):
        hold(network, Mask({"conv.weight": torch.ones(6, 1, 3, 3), "head.weight": torch.ones(4, 12)}))
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    # The other layers can still be compressed.
    compress(network, type(method)(**{**{f: getattr(method, f) for f in method.__struct_fields__}, "layers": "conv*"}))


def test_a_weight_that_a_torch_pruned_module_lost(network: nn.Module) -> None:
    pruned_by_torch_before_any_forward_pass(network)
    with pytest.raises(CompressionError, match=r"head\.weight is pruned by torch\.nn\.utils\.prune"):
        apply_mask(network, Mask({"head.weight": torch.ones(4, 12)}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_on_a_gpu(network: nn.Module, method: CompressionMethod) -> None:
    here, there = network, copy.deepcopy(network).cuda()
    mask, same = compress(here, method, generator=seeded()), compress(there, method, generator=seeded())
    assert mask == same
    for name, weight in compressible(there).items():
        assert weight.is_cuda
        # Decompositions on the GPU differ from those on the CPU by rounding; everything else is the same arithmetic.
        torch.testing.assert_close(weight.cpu(), compressible(here)[name], rtol=1e-10, atol=1e-12)
