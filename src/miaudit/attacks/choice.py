"""Which attacks a plan or a call asks for: by name, by a table of a name and options, or as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from miaudit.attacks import ATTACKS, NAMED, USUAL, Attack, Shokri, attack_name
from miaudit.errors import PlanError, nearest
from miaudit.plugins import Plugin, plugin, plugins


def shokri_of(options: Mapping[str, Any]) -> Shokri:
    """Return the 2017 attack with these options, or raise a PlanError that names what is wrong with them."""
    known = tuple(Shokri.__dataclass_fields__)
    refuse_unknown(options, known, "attack")
    try:
        return Shokri(**options)
    except TypeError as error:
        raise PlanError([("attack", f"a value has the wrong type: {error}")]) from error


def chosen_attacks(entries: str | Sequence[str | Mapping[str, Any] | Attack], shokri: Shokri) -> tuple[Attack, ...]:
    """Return the attacks that a list of names, tables of a name and options, or attacks asks for.

    A name is that of an attack, of one of its usual configurations, such as ``lira offline``, or of an attack that an installed
    package declares; ``shokri`` is the one given.

    Raises
    ------
    PlanError
        With every name and option that is not known and the nearest that is, or if an attack is asked for twice.
    """
    entries = [entries] if isinstance(entries, str) else entries
    known = {attack_name(attack): attack for attack in (*USUAL, *NAMED)} | {
        name: cls() for name, cls in ATTACKS.items()
    }
    known["shokri"] = shokri
    found: list[Attack] = []
    problems: list[tuple[str, str]] = []
    for i, entry in enumerate(entries):
        path = f"attacks.{i}"
        try:
            attack = entry if isinstance(entry, Attack) else _chosen(entry, known, path)
        except PlanError as error:
            problems += [(where or path, what) for where, what in error.problems]
            continue
        if attack_name(attack) in map(attack_name, found):
            problems.append((path, f"{attack_name(attack)} is in the list twice; leave one out, or change an option"))
        found.append(attack)
    if problems:
        raise PlanError(problems)
    return tuple(found)


def _chosen(entry: str | Mapping[str, Any], known: Mapping[str, Attack], path: str) -> Attack:
    if isinstance(entry, str):
        name, names = entry, tuple(known)
    elif isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
        name, names = entry["name"], tuple(ATTACKS)
    else:
        raise PlanError([(path, f"must be a name, or a table with a name and options; got {entry!r}")])
    if isinstance(entry, str) and name in names:
        return known[name]
    kind = ATTACKS[name] if name in names else class_of(plugin("attacks", name, known=names))
    options = {} if isinstance(entry, str) else {key: value for key, value in entry.items() if key != "name"}
    refuse_unknown(options, tuple(f.name for f in fields(kind)), path)  # type: ignore[arg-type]
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        raise PlanError(
            [
                (
                    ".".join(map(str, (path, *each["loc"]))),
                    f"{each['msg'][0].lower()}{each['msg'][1:]}; got {each['input']!r}",
                )
                for each in error.errors()
            ]
        ) from None
    except PlanError as error:
        raise PlanError([(path, text) for _, text in error.problems]) from None


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
    try:
        attack_name(kind())
    except Exception as error:
        raise declared.problem(f"cannot be made with its defaults: {type(error).__name__}: {error}") from error
    return kind  # type: ignore[no-any-return]


def _is_class_of_attacks(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Attack) and is_dataclass(thing)


def further_attacks() -> tuple[list[tuple[str, Attack]], list[str]]:
    """Return every attack that an installed package declares, behind the package, and what is wrong with the others."""
    there, problems = [], []
    for each in plugins("attacks"):
        try:
            if each.name in ATTACKS:
                raise each.problem("has the name of an attack of miaudit, which it cannot take")
            there.append((each.distribution, class_of(each)()))
        except PlanError as error:
            problems.append(str(error))
    return there, problems


def refuse_unknown(given: Iterable[str], known: Sequence[str], path: str) -> None:
    """Raise a PlanError that lists every unknown key with the nearest known one."""
    problems = []
    for key in given:
        if key not in known:
            hint = nearest(key, known, cutoff=0.5) or f"allowed here: {', '.join(known)}"
            problems.append((f"{path}.{key}", f"unknown key; {hint}"))
    if problems:
        raise PlanError(problems)
