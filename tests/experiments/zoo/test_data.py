"""Data that a function of the user's returns."""

import re
from pathlib import Path

import pytest
import torch

from shrinkscope.cli.options import NETWORK_NAMES
from shrinkscope.errors import DataError, WeightsError
from shrinkscope.experiments.zoo import NETWORKS, load_data, load_inputs, load_network

MODULE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

x, y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
number = 3


def tensor():
    return x


def pair():
    return x, y


def loader():
    return DataLoader(TensorDataset(x, y), batch_size=2)


def images():
    return DataLoader(TensorDataset(x), batch_size=2)


def endless():
    while True:
        yield x


def nothing():
    return "images/"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"mine_{abs(hash(request.node.name))}"  # a module of this name is imported once in a process
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize("function", ["tensor", "pair", "loader", "images"])
def test_inputs_come_from_a_function(module: str, function: str):
    assert torch.equal(load_inputs(f"{module}:{function}"), torch.arange(10.0).reshape(5, 2))


def test_no_more_batches_are_read_than_are_asked_for(module: str):
    assert torch.equal(load_inputs(f"{module}:endless", 7), torch.arange(10.0).reshape(5, 2).repeat(2, 1)[:7])


@pytest.mark.parametrize("function", ["pair", "loader"])
def test_labelled_data_come_from_a_function(module: str, function: str):
    x, y = load_data(f"{module}:{function}")
    assert torch.equal(x, torch.arange(10.0).reshape(5, 2))
    assert torch.equal(y, torch.arange(5))


def test_what_is_no_function_or_returns_no_data_is_one_line(module: str):
    with pytest.raises(DataError, match=f"{module}:number is a int; expected a function that returns inputs"):
        load_inputs(f"{module}:number")
    with pytest.raises(DataError, match="cannot load .*:none: .*expected package.module:function"):
        load_data(f"{module}:none")
    with pytest.raises(DataError, match="inputs is .*expected a tensor or an iterable of batches"):
        load_inputs(f"{module}:nothing")
    with pytest.raises(DataError, match=r"not usable as inputs; expected .*or package.module:function"):
        load_inputs("images.txt")


def test_a_network_that_cannot_be_loaded_is_one_line(module: str):
    with pytest.raises(WeightsError, match="cannot load nowhere:f: No module named 'nowhere'"):
        load_network("nowhere:f")
    with pytest.raises(WeightsError, match=f"{module}:number is a int; expected a function that returns a torch.nn"):
        load_network(f"{module}:number")


def test_help_names_the_networks_there_are():
    assert re.findall(r"[a-z]\w+(?=, )", NETWORK_NAMES) == sorted(NETWORKS)
