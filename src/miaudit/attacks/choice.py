"""Which attacks a plan or a call asks for: by name, by a table of a name and options, or as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from miaudit.attacks import ATTACKS, NAMED, USUAL, Attack, attack_name
from miaudit.errors import PlanError, declared, nearest, not_list, refuse, section, sentence_of, with_article
from miaudit.plugins import Plugin, plugin, plugins

_PROMISES: dict[str, type] = {
    **dict.fromkeys(("name", "title", "paper"), str),
    "needs": frozenset,
    "when": Mapping,
    "demands": frozenset,
    "questions": tuple,
    "least_shadows": int,
    "options": dict,
}
"""Of what type the attributes of an attack are."""


def chosen_attacks(entries: str | Sequence[str | Mapping[str, Any] | Attack]) -> tuple[Attack, ...]:
    """Return the attacks that a list of names, tables of a name and options, or attacks asks for.

    A name is that of an attack, of one of its usual configurations, such as ``lira offline``, or of an attack that an installed
    package declares.

    Raises
    ------
    PlanError
        With every name and option that is not known and the nearest that is, or if an attack is asked for twice.
    """
    entries = [entries] if isinstance(entries, str) else entries
    refuse(not_list(("attacks", entries)))
    if not entries:
        raise PlanError([("attacks", "is empty: name at least one, or leave it out for all that can be run")])
    choice: list[Attack] = []
    problems: list[tuple[str, str]] = []
    for i, entry in enumerate(entries):
        with section(f"attacks.{i}", problems):
            attack = _given(entry) if isinstance(entry, Attack) else _chosen(entry)
            if attack_name(attack) in map(attack_name, choice):
                raise PlanError(f"{attack_name(attack)} is in the list twice; leave one out, or change an option")
            choice.append(attack)
    if problems:
        raise PlanError(problems)
    return tuple(choice)


def _given(attack: Attack) -> Attack:
    kind = type(attack)
    if not hasattr(kind, "__dataclass_fields__"):
        raise PlanError(f"the class {kind.__name__} must be a dataclass: put @dataclass(frozen=True) before it")
    if lacking := _lacking(attack):
        raise PlanError(f"the class {kind.__name__} must have {', '.join(lacking)} as miaudit.attacks.Attack describes")
    ours = {attack_name(each): type(each) for each in (*USUAL, *NAMED)} | ATTACKS
    if kind is not ours.get(attack.name, kind):
        raise PlanError(f"{kind.__name__} is called {attack.name!r}, as an attack of miaudit is; give it another name")
    return attack


def _lacking(attack: Attack) -> list[str]:
    """Return the attributes that an attack lacks, or that are of another type, with both types."""
    lacking = [key for key, of in _PROMISES.items() if not isinstance(getattr(attack, key, None), of)]
    stated = [key for key in lacking if key not in ("demands", "questions", "least_shadows", "options")]
    return [
        f"{key} ({with_article(_PROMISES[key].__name__)}, got {with_article(type(getattr(attack, key)).__name__)})"
        if hasattr(attack, key)
        else key
        for key in stated or lacking  # of the others some follow from those that are stated
    ]


def _chosen(entry: str | Mapping[str, Any]) -> Attack:
    names = {attack_name(attack): attack for attack in (*USUAL, *NAMED)}
    if isinstance(entry, str) and entry in names:
        return names[entry]
    name = entry if isinstance(entry, str) else entry.get("name") if isinstance(entry, Mapping) else None
    if not isinstance(name, str):
        raise PlanError(f"must be a name, or a table with a name and options; got {entry!r}")
    names_allowed = tuple(dict.fromkeys((*names, *ATTACKS))) if isinstance(entry, str) else tuple(ATTACKS)
    options = {} if isinstance(entry, str) else {key: _plain(value) for key, value in entry.items() if key != "name"}
    if name in ATTACKS:
        return _made(ATTACKS[name], name, options)
    declared = plugin("attacks", name, choices=names_allowed)
    kind = class_of(declared)
    with declared.blamed(f"cannot be made with the options {options}"):
        return _made(kind, name, options)


def _made(kind: type[Attack], name: str, options: dict[str, Any]) -> Attack:
    refuse_unknown(options, [each.name for each in fields(kind)])  # type: ignore[arg-type]
    hints, values, problems = get_type_hints(kind, include_extras=True), dict[str, Any](), list[tuple[str, str]]()
    for key, value in options.items():
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            problems += [(key, sentence_of(each, ())) for each in error.errors()]
    if problems:
        raise PlanError(problems)
    try:
        return kind(**values)
    except PlanError as error:
        raise PlanError([(path.removeprefix(f"{name}."), text) for path, text in error.problems]) from None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def class_of(declared: Plugin) -> type[Attack]:
    """Return the class of attacks that a package declares.

    Raises
    ------
    PlanError
        In one line that names the package, if it cannot be loaded or keeps no promise of `Attack`.
    """
    kind = declared.load()
    if not (_is_class_of_attacks(kind)):
        raise declared.problem("must be a frozen dataclass derived from miaudit.attacks.Attack")
    if getattr(kind, "name", None) != declared.name:
        raise declared.problem(f"is of the name {getattr(kind, 'name', None)!r}; both must be the same")
    with declared.blamed("cannot be made with its defaults"):
        attack = kind()
        attack_name(attack)
        lacking = _lacking(attack)
    if lacking:
        raise declared.problem(f"must have {', '.join(lacking)} as miaudit.attacks.Attack describes")
    return kind  # type: ignore[no-any-return]


def _is_class_of_attacks(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Attack) and is_dataclass(thing)


def further_attacks() -> tuple[list[tuple[str, Attack]], list[str]]:
    """Return every attack that an installed package declares, behind the package, and what is wrong with the others."""
    additions, problems = [], declared()[1]
    for each in plugins("attacks"):
        try:
            if each.name in ATTACKS:
                raise each.problem("has the name of an attack of miaudit, which it cannot take")
            additions.append((each.distribution, class_of(each)()))
        except PlanError as error:
            problems.append(str(error))
    return additions, problems


def refuse_unknown(options: Iterable[str], names: Sequence[str]) -> None:
    """Raise a PlanError that lists every unknown key with the nearest known one."""
    problems = []
    for key in options:
        if key not in names:
            hint = nearest(key, names, cutoff=0.5) or f"allowed here: {', '.join(names)}"
            problems.append((key, f"unknown key; {hint}"))
    if problems:
        raise PlanError(problems)
