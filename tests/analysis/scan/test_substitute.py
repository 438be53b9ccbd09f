import pytest
import torch
from torch import nn

from shrinkscope.analysis.scan.substitute import Snapshot, preserved, substituted


def test_a_weight_is_replaced_for_a_moment_in_its_memory_format_and_its_own_comes_back():
    layer = nn.Conv2d(4, 3, 3).to(memory_format=torch.channels_last)
    place, own, version = layer.weight.data_ptr(), layer.weight.detach().clone(), layer.weight._version
    with pytest.raises(KeyboardInterrupt), substituted(layer.weight, torch.ones(3, 4, 3, 3)):
        assert torch.equal(layer.weight, torch.ones(3, 4, 3, 3))
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        raise KeyboardInterrupt
    assert layer.weight.data_ptr() == place
    assert torch.equal(layer.weight, own)
    assert layer.weight._version == version


def test_attributes_registries_storage_and_buffers_come_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    buffer, parameter, place = model[1].running_mean, model[0].weight, model[0].weight.data_ptr()
    with pytest.raises(ValueError, match="stop"), preserved(model):
        model[0].note = "left behind"
        model[1].running_mean.add_(1)
        model[1].register_buffer("running_var", torch.zeros(2))
        model[0].weight.data = torch.zeros(2, 2)
        del model[0].bias
        raise ValueError("stop")
    assert not hasattr(model[0], "note")
    assert model[1].running_mean is buffer
    assert torch.equal(buffer, torch.zeros(2))
    assert torch.equal(model[1].running_var, torch.ones(2))
    assert model[0].weight is parameter
    assert parameter.data_ptr() == place
    assert list(dict(model[0].named_parameters())) == ["weight", "bias"]


def test_written_tells_changes_of_buffers_alone():
    model = nn.BatchNorm1d(2)
    snapshot = Snapshot(model)
    model.note = 1
    assert not snapshot.written
    model.running_mean.add_(1)
    assert snapshot.written
    snapshot.restore()
    assert not snapshot.written
    model.running_mean = torch.zeros(2)
    assert snapshot.written
