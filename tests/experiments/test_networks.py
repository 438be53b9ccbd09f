"""Networks from seeds and files."""

import pytest
import torch
from safetensors import safe_open

from shrinkscope.errors import OutputError, WeightsError
from shrinkscope.experiments.networks import load_network_file, new_network, save_network


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_seed_alone_decides_and_the_global_generator_stays():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = new_network("digits", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    assert equal(first, new_network("digits", seed=1))
    assert not equal(first, new_network("digits", seed=2))
    assert not first.training


def test_a_network_returns_from_its_file_bit_by_bit(tmp_path):
    model = new_network("digits", seed=3)
    model(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    save_network(tmp_path / "deep" / "net.safetensors", model, "trial 1, dense")
    assert equal(model, load_network_file(tmp_path / "deep" / "net.safetensors", "digits"))
    with safe_open(tmp_path / "deep" / "net.safetensors", "pt") as file:
        assert file.metadata() == {"description": "trial 1, dense"}
        assert "bn1.running_mean" in file.keys()  # noqa: SIM118  # not a mapping


def test_files_that_are_no_such_network_are_one_line(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(WeightsError, match="cannot read .*net.safetensors: .*run the study again"):
        load_network_file(path, "digits")
    save_network(path, new_network("digits", seed=0), "")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot read .*net.safetensors"):
        load_network_file(path, "digits")
    save_network(path, new_network("lenet300", seed=0), "")
    with pytest.raises(WeightsError, match=r"holds another network than digits: .*conv1.weight") as caught:
        load_network_file(path, "digits")
    assert "\n" not in str(caught.value)


def test_an_impossible_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_network(tmp_path / "file" / "net.safetensors", new_network("digits", seed=0), "")
