"""The list of statements is complete: each module of the package that states one is in it, in both forms."""

import pkgutil

import shrinkscope.theory
from shrinkscope.theory.statements import STATEMENTS

PREFIXES = ("equation_", "definition_", "lemma_", "corollary_", "theorem_")


def test_every_statement_is_listed():
    modules = {info.name for info in pkgutil.iter_modules(shrinkscope.theory.__path__)}
    stated = {name for name in modules if name.startswith(PREFIXES)}
    assert {module.__name__.rsplit(".", 1)[1] for module in STATEMENTS.values()} == stated


def test_every_statement_has_its_forms():
    for name, module in STATEMENTS.items():
        assert callable(module.as_published)
        assert hasattr(module, "corrected"), name
