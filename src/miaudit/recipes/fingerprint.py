"""What decides a recipe, as one digest: its values, and all the code that it can reach outside installed packages.

Functions are told apart by their bytecode, constants, defaults, closures, and the globals they read; classes by all that
stands in them and in their bases; modules of one's own by their source and that of what they import; installed packages
by name and version; values by content, whatever their order in a set or their place in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from miaudit.recipes.recipe import Composed
from miaudit.recipes.walk import Findings, Walk


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a thing is.

    ``packages`` are the installed ones that it reaches, with versions, and ``sources`` digests of the files of one's own, by
    the names of modules. ``unknown`` says what cannot be seen into, so that
    equal digests do not mean equal things. ``generators`` are the random generators that it reaches; their state is not
    in the digest, because every model is trained with them seeded from its own seed.
    """

    sha256: str
    packages: dict[str, str]
    unknown: tuple[str, ...]
    generators: tuple[Any, ...]
    sources: dict[str, str] = field(default_factory=dict)


def fingerprint(thing: Any, *, cloned: bool = False) -> Fingerprint:
    """Return what decides a thing.

    Parameters
    ----------
    thing
        A recipe, a function, an estimator, any value.
    cloned
        Whether models are trained by scikit-learn's clones of it: then an estimator is its parameters, but for
        ``random_state``, and not what it learned.
    """
    findings = Findings()
    digest = Walk(findings).digest(thing, cloned)
    unknown = tuple(sorted(findings.unknown))
    generators = tuple(findings.generators.values())
    return Fingerprint(digest, dict(sorted(findings.packages.items())), unknown, generators, findings.sources)


def fingerprint_of_recipe(recipe: Any) -> Fingerprint:
    """Return what decides a recipe beside its description: code that it reaches, and values that are not described.

    Our own recipes say by a method ``fingerprint`` what that is, or have nothing beside their description.
    """
    ours = type(recipe).__module__.startswith("miaudit.")
    own = getattr(recipe, "fingerprint", None)
    if not callable(own):
        return fingerprint(None if ours else recipe)
    name: Fingerprint = own()
    return name if ours else joined(name, fingerprint(type(recipe)))


def content_of(model: Any) -> str | None:
    """Return a digest of all parts of a trained model; None where it does not name them, or one cannot be seen into."""
    if not isinstance(model, Composed):
        return None
    decided = fingerprint(model.parts)
    return None if decided.unknown else decided.sha256


def joined(*parts: Fingerprint) -> Fingerprint:
    """Return the fingerprint of several things together."""
    packages = {name: version for part in parts for name, version in part.packages.items()}
    return Fingerprint(
        fingerprint([part.sha256 for part in parts]).sha256,
        dict(sorted(packages.items())),
        tuple(sorted({what for part in parts for what in part.unknown})),
        tuple({id(each): each for part in parts for each in part.generators}.values()),
        {name: source for part in parts for name, source in part.sources.items()},
    )
