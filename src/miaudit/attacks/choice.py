"""Which attacks a plan or a call asks for: by name, by a table of a name and options, or as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from miaudit.attacks import ATTACKS, NAMED, USUAL, Attack, Shokri, attack_name
from miaudit.errors import PlanError, nearest


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

    A name is that of an attack, or one of its usual configurations, such as ``lira offline``; ``shokri`` is the one given.

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
    if name not in names:
        hint = nearest(name, names, cutoff=0.4) or f"known are {', '.join(names)}"
        raise PlanError([(path, f"unknown attack {name!r}; {hint}")])
    if isinstance(entry, str):
        return known[name]
    options = {key: value for key, value in entry.items() if key != "name"}
    refuse_unknown(options, tuple(f.name for f in fields(ATTACKS[name])), path)  # type: ignore[arg-type]
    try:
        return TypeAdapter(ATTACKS[name]).validate_python(options)
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


def refuse_unknown(given: Iterable[str], known: Sequence[str], path: str) -> None:
    """Raise a PlanError that lists every unknown key with the nearest known one."""
    problems = []
    for key in given:
        if key not in known:
            hint = nearest(key, known, cutoff=0.5) or f"allowed here: {', '.join(known)}"
            problems.append((f"{path}.{key}", f"unknown key; {hint}"))
    if problems:
        raise PlanError(problems)
