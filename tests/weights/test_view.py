"""Tensors read in pieces: a window where there is one, the whole tensor once where there is none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.errors import PairingError
from shrinkscope.kernel import type_name
from shrinkscope.weights import LayerSelection, TensorView, Weights, open_weights, pair


def view_of(tensor: torch.Tensor, asked: list[tuple[int, int]] | None = None) -> TensorView:
    def window(start: int, stop: int) -> torch.Tensor:
        asked.append((start, stop))
        return tensor.reshape(-1)[start:stop]

    shape = tuple(tensor.shape)
    loads = pytest.fail if asked is not None else lambda: tensor
    return TensorView(
        name="w",
        shape=shape,
        type=type_name(tensor.dtype),
        role="linear",
        load=loads,
        window=None if asked is None else window,
    )


@given(st.integers(0, 40), st.integers(1, 50), st.booleans())
def test_chunks_are_the_flattened_tensor_in_order(count, size, windowed):
    tensor = torch.arange(float(count))
    asked: list[tuple[int, int]] = []
    chunks = list(view_of(tensor, asked if windowed else None).chunks(size))
    assert torch.equal(torch.cat([tensor[:0], *chunks]), tensor)
    assert all(len(chunk) <= size for chunk in chunks)
    assert not windowed or max((b - a for a, b in asked), default=0) <= size


def test_a_walk_over_chunks_loads_a_tensor_without_window_once():
    loaded = []

    def load() -> torch.Tensor:
        loaded.append(1)
        return torch.arange(10.0)

    view = TensorView(name="w", shape=(10,), type="float32", role="other", load=load)
    assert len(list(view.chunks(3))) == 4
    assert len(loaded) == 1


@pytest.mark.parametrize("windowed", [True, False])
def test_a_piece_is_flat_and_detached(windowed):
    tensor = torch.arange(12.0).reshape(3, 4).requires_grad_()
    piece = view_of(tensor, [] if windowed else None).piece(3, 8)
    assert torch.equal(piece, torch.arange(3.0, 8.0))
    assert not piece.requires_grad


def test_what_cannot_be_read_is_a_mismatch_with_its_reason():
    dense = open_weights({"a": torch.ones(2), "b": torch.ones(3)})
    compressed = Weights([dense["a"]], origin="new.pt", unreadable={"b": "packed by a secret"})
    pairing = pair(dense, compressed, LayerSelection())
    assert [(m.layer, m.kind, m.explanation) for m in pairing.mismatches] == [
        ("b", "unreadable", "b cannot be read from new.pt (packed by a secret)")
    ]
    assert [m.kind for m in pair(compressed, dense, LayerSelection()).mismatches] == ["unreadable"]


def test_a_selection_of_layers_selects_what_cannot_be_read_too():
    dense = open_weights({"a": torch.ones(2), "b": torch.ones(3)})
    compressed = Weights([dense["a"]], origin="new.pt", unreadable={"b": "packed by a secret"})
    assert pair(dense, compressed, LayerSelection(exclude=("b",))).mismatches == ()


def test_where_nothing_can_be_read_the_reason_is_the_error():
    dense = open_weights({"b": torch.ones(3)})
    compressed = Weights([], origin="new.pt", unreadable={"b": "packed by a secret"})
    with pytest.raises(PairingError, match=r"nothing can be compared: b cannot be read from new.pt \(packed by"):
        pair(dense, compressed, LayerSelection())
