import subprocess
import sys

import pytest

import shrinkscope.analysis
import shrinkscope.divergence
import shrinkscope.latent
import shrinkscope.report


def printed(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()


@pytest.mark.parametrize(
    "package", [shrinkscope, shrinkscope.analysis, shrinkscope.divergence, shrinkscope.latent, shrinkscope.report]
)
def test_every_name_of_a_deferred_package_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is getattr(package, name)
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    # The import system binds each module to its package, after which `scan` would be one.
    script = (
        "import shrinkscope.analysis.scan.records; from shrinkscope.analysis import scan; print(type(scan).__name__)"
    )
    assert printed(script) == ["function"]
    script = (
        "import shrinkscope.analysis.compare; from shrinkscope.analysis import compare; print(type(compare).__name__)"
    )
    assert printed(script) == ["function"]


def test_torch_is_imported_when_one_of_its_names_is_used():
    script = (
        "import sys; from shrinkscope.deferred import torch; print('torch' in sys.modules); "
        "print(torch.float32); print('torch' in sys.modules)"
    )
    assert printed(script) == ["False", "torch.float32", "True"]


def test_formulas_are_filed_whichever_name_is_used_first():
    script = (
        "import torch; from shrinkscope.divergence import renyi, MultivariateGaussian as G; "
        "from shrinkscope.divergence.covariance import Isotropic; "
        "print(renyi(G(torch.zeros(2), Isotropic(2, 1.0)), G(torch.ones(2), Isotropic(2, 1.0)), order=0.5).value)"
    )
    assert printed(script) == ["0.5"]
