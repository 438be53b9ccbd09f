"""Files of tensors as anyone's new files are."""

import sys

import pytest
import torch

from shrinkscope.weights import save_tensors


@pytest.mark.skipif(sys.platform == "win32", reason="there are no permissions of this kind")
def test_a_file_of_tensors_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    save_tensors(tmp_path / "net.safetensors", {"fc.weight": torch.ones(2)})
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
