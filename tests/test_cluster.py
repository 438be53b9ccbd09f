"""Joining a Ray cluster: what goes wrong is one line, and soon. What is done on one: test_on_ray.py."""

import os
import sys
import time

import pytest

from shrinkscope.cluster import joined, said
from shrinkscope.errors import ClusterError


def test_without_ray_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ClusterError, match=r"ray cannot be imported .*; pip install 'shrinkscope\[ray\]'"),
        joined("local", 1),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_found_missing_at_once(address):
    started = time.monotonic()
    with pytest.raises(ClusterError, match=f"cannot join the Ray cluster {address}: "), joined(address, 1):
        pass
    assert time.monotonic() - started < 10  # importing ray; Ray itself tries for many minutes


def test_an_address_that_is_none_is_one_line_and_the_environment_stays(monkeypatch):
    before = dict(os.environ)
    with pytest.raises(ClusterError, match=r"cannot join the Ray cluster nonsense:// *: "), joined("nonsense://", 1):
        pass
    assert dict(os.environ) == before


def test_the_last_line_of_an_error_is_told():
    assert said(ValueError("a worker\n  Traceback\n  cause: no memory\n")) == "cause: no memory"
    assert said(ValueError()) == "ValueError"
