"""Making the names of two networks match: the user's rules, wrappers' marks, and prefixes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping.adapter_names import plain_name
from shrinkscope.weights.mapping.lazy import renamed
from shrinkscope.weights.mapping.rules import Rename
from shrinkscope.weights.mapping.step import Note, Step, examples
from shrinkscope.weights.view import Weights

PREFIXES = ("module.", "_orig_mod.", "model.", "base_model.model.")
"""Prefixes that wrappers put before every name: DataParallel, torch.compile, Lightning and transformers, PEFT."""

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_DEPTH = 4
_Score = tuple[int, int, int]


def by_rules(dense: Weights, compressed: Weights, rules: Sequence[Rename]) -> Step:
    """The networks with the user's renamings applied.

    Raises:
        PairingError: If a rule matches no name, or gives two tensors one name.
    """
    notes = []
    sides = {"dense": dense, "compressed": compressed}
    for rule in rules:
        search = re.compile(rule.pattern)
        found = []
        for side in sides if rule.side == "both" else (rule.side,):
            found += [name for name in _all_names(sides[side]) if search.search(name)]
            sides[side] = rename_all(sides[side], lambda name: search.sub(rule.replacement, name))  # noqa: B023 (used now)
        if not found:
            names = list(_all_names(sides["dense" if rule.side == "dense" else "compressed"]))
            raise PairingError(f"rename {rule.pattern!r} matches no name; the names are like {examples(names)}")
        new = search.sub(rule.replacement, found[0])
        text = f"{len(found)} renamed by {rule.pattern!r} → {rule.replacement!r}: {found[0]} is compared as {new}"
        notes.append(Note(layer=new, kind="renamed", text=text))
    return Step(dense=sides["dense"], compressed=sides["compressed"], notes=tuple(notes))


def by_prefix(dense: Weights, compressed: Weights) -> Step:
    """The compressed network under the dense one's names, where a prefix is all that differs.

    Wrappers' marks are removed first. Of all prefixes that occur, the exchange is taken with which most names agree;
    none is made unless more names agree than without.

    Raises:
        PairingError: If no name agrees as it is, and two exchanges do equally well, or the best does badly.
    """
    before = _Names(dense)
    notes: list[Note] = []
    unwrapped = _unwrapped(before, compressed)
    if unwrapped:
        old, new = next(iter(unwrapped.items()))
        notes.append(_note(len(unwrapped), "marks of wrappers removed", old, new))
        compressed = rename_all(compressed, lambda name: unwrapped.get(name, name))
    choice = _choose(before, dense, compressed)
    if choice is not None:
        remove, add, names = choice
        what = [f"prefix {remove!r} removed"] * bool(remove) + [f"prefix {add!r} added"] * bool(add)
        old, new = next(iter(names.items()))
        notes.append(_note(len(names), " and ".join(what), old, new))
        compressed = rename_all(compressed, lambda name: names.get(name, name))
    return Step(dense=dense, compressed=compressed, notes=tuple(notes))


def rename_all(weights: Weights, new_name: Callable[[str], str]) -> Weights:
    """A network under other names.

    Raises:
        PairingError: If two tensors would have one name.
    """
    origin_of: dict[str, str] = {}
    for name in _all_names(weights):
        other = origin_of.setdefault(new_name(name), name)
        if other != name:
            raise PairingError(
                f"{weights.origin}: {other} and {name} would both be renamed {new_name(name)}; make the rule narrower"
            )
    return Weights(
        [renamed(view, new_name(name)) for name, view in weights.items()],
        origin=weights.origin,
        tied={new_name(name): new_name(first) for name, first in weights.tied.items()},
        unreadable={new_name(name): reason for name, reason in weights.unreadable.items()},
        place=weights.place,
    )


class _Names:
    """What is asked of the dense network's names."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.known = set(_all_names(weights))
        self.modules = {module for name in self.known for module in _modules(name)}
        self.shapes = {name: weights[weights.tied.get(name, name)].shape for name in (*weights, *weights.tied)}

    def exact(self, name: str) -> bool:
        """Whether the dense network has the tensor, or the one that an adapter's tensor of this name changes."""
        return name in self.known or plain_name(name) in self.known

    def related(self, name: str) -> bool:
        """Whether the tensor belongs to a module of the dense network, or to a part of one: a factor, an adapter."""
        parent = name.rpartition(".")[0]
        return parent in self.modules or parent.rpartition(".")[0] in self.modules


def _modules(name: str) -> Iterable[str]:
    while name:
        name = name.rpartition(".")[0]
        if name:
            yield name


def _unwrapped(before: _Names, compressed: Weights) -> dict[str, str]:
    plain = {_bare(name): name for name in before.known}
    names = {}
    for name in _all_names(compressed):
        bare = _bare(name)
        new = plain.get(bare, bare)
        if new != name and not before.exact(name):
            names[name] = new
    return names


def _bare(name: str) -> str:
    for mark in _WRAPPERS:
        name = name.replace(mark, "")
    return name


def _choose(before: _Names, dense: Weights, compressed: Weights) -> tuple[str, str, dict[str, str]] | None:
    after = list(_all_names(compressed))
    plain = _score(before, compressed, {}, after)
    if plain[0] + plain[2] == len(after):
        return None
    found: dict[tuple[tuple[str, str], ...], tuple[_Score, str, str]] = {}
    for remove in _prefixes([plain_name(name) for name in after]):
        for add in _prefixes(list(before.known)):
            if remove != add and (names := _exchange(before, after, remove, add)):
                score = _score(before, compressed, names, after)
                # A module's name put before a factor's makes it look like a part of that module.
                if score[0] > plain[0] or add in ("", *PREFIXES):
                    found.setdefault(tuple(names.items()), (score, remove, add))
    ranked = sorted(found.items(), key=lambda item: item[1][0], reverse=True)
    if not ranked or ranked[0][1][0] <= plain:
        return None
    best = [item for item in ranked if item[1][0] == ranked[0][1][0]]
    # Wrappers' own prefixes come before any that merely occur.
    usual = [item for item in best if all(prefix in ("", *PREFIXES) for prefix in item[1][1:])]
    (names, (score, remove, add)), *others = usual or best
    rivals = [rule[1:] for _, rule in others]
    doubtful = _doubt(score, rivals, (remove, add), after, before)
    if doubtful is None:
        return remove, add, dict(names)
    if plain[0]:
        return None
    raise PairingError(
        f"{doubtful} ({dense.origin} has {examples(sorted(before.known))}; {compressed.origin} has {examples(after)}); "
        "say how the names match with --rename 'PATTERN=REPLACEMENT'"
    )


def _doubt(
    score: _Score, rivals: list[tuple[str, str]], best: tuple[str, str], after: list[str], before: _Names
) -> str | None:
    if rivals:
        first, second = (f"{remove!r} → {add!r}" for remove, add in (best, rivals[0]))
        return f"the names match equally well with prefix {first} and with {second}"
    if 2 * (score[0] + score[2]) < min(len(after), len(before.known)):
        return f"the best exchange of prefixes, {best[0]!r} → {best[1]!r}, makes fewer than half of the names match"
    return None


def _prefixes(names: list[str]) -> list[str]:
    """Prefixes of whole components that at least half of the names have, and the well-known ones that any has."""
    count = Counter(prefix for name in names for prefix in _leading(name))
    common = [prefix for prefix, many in count.items() if 2 * many >= len(names)]
    known = [prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)]
    return list(dict.fromkeys(["", *common, *known]))


def _leading(name: str) -> Iterable[str]:
    parts = name.split(".")[:-1][:_DEPTH]
    return (".".join(parts[: depth + 1]) + "." for depth in range(len(parts)))


def _exchange(before: _Names, after: list[str], remove: str, add: str) -> dict[str, str]:
    """Name → new name, where the exchange of prefixes makes a name agree that did not."""
    names = {}
    taken = {name for name in after if before.exact(name)}
    for name in after:
        if name in taken or not name.startswith(remove):
            continue
        new = add + name[len(remove) :]
        better = before.exact(new) or (before.related(new) and not before.related(name))
        if better and new not in taken:
            names[name] = new
    return names


def _score(before: _Names, compressed: Weights, names: Mapping[str, str], after: list[str]) -> _Score:
    """How many names agree, how many of these with their shapes, and how many others belong to a known module."""
    exact = same = related = 0
    for old in after:
        name = names.get(old, old)
        if before.exact(name):
            exact += 1
            view = compressed.get(compressed.tied.get(old, old))
            same += view is not None and before.shapes.get(name) == view.shape
        else:
            related += before.related(name)
    return exact, same, related


def _note(count: int, what: str, old: str, new: str) -> Note:
    text = f"{what} in the names of {count} tensors, for example {old} is compared as {new}"
    return Note(layer=new, kind="renamed", text=text)


def _all_names(weights: Weights) -> Iterable[str]:
    return (*weights, *weights.tied, *weights.unreadable)
