"""The table of functions by a pair of types."""

from shrinkscope.divergence.pairs import PairTable


class Base:
    pass


class Special(Base):
    pass


def table() -> PairTable:
    made = PairTable()
    made.register(Base, Base)(lambda *_: "base and base")
    made.register(Special, Base)(lambda *_: "special and base")
    made.register(Base, Special)(lambda *_: "base and special")
    return made


def answer(first: object, second: object) -> str:
    function = table().find(first, second)
    assert function is not None
    return function(first, second)


def test_the_closest_pair_of_bases_answers():
    assert answer(Base(), Base()) == "base and base"
    assert answer(Special(), Base()) == "special and base"
    assert answer(Base(), Special()) == "base and special"


def test_the_first_argument_decides_ties():
    assert answer(Special(), Special()) == "special and base"


def test_all_pairs_of_bases_are_found_in_order():
    answers = [function() for function in table().matches(Special(), Special())]
    assert answers == ["special and base", "base and special", "base and base"]


def test_an_unknown_pair_has_no_function():
    assert table().find(1, Base()) is None
    assert table().matches(1, Base()) == []


def test_the_known_pairs_are_listed():
    assert table().known() == "Base–Base, Special–Base, Base–Special"
