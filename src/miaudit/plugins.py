"""What installed packages add: attacks, recipes, targets and wire formats, by entry points.

A package declares them in its metadata, in the groups ``miaudit.attacks``, ``miaudit.recipes``, ``miaudit.targets`` and
``miaudit.wire``. Nothing of a package is imported before a plan or a call names what it declares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Literal

from miaudit.errors import MiauditError, PlanError, declared, nearest, reason_of, with_article

Kind = Literal["attacks", "recipes", "targets", "wire"]


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """By which a plan names it."""
        return self.entry.name

    @property
    def distribution(self) -> str:
        """Name and version of what was installed."""
        of = self.entry.dist
        return "an unknown package" if of is None else f"{of.name} {of.version}"

    def load(self) -> Any:
        """Import the package and return what it declares.

        Raises
        ------
        PlanError
            If that fails.
        """
        with self.blamed("cannot be loaded"):
            return self.entry.load()

    def make(self, params: dict[str, Any]) -> Any:
        """Return what the class or function that is declared returns when it is called with parameters.

        Raises
        ------
        PlanError
            If it is neither, or fails.
        """
        maker = self.load()
        if not callable(maker):
            raise self.problem(f"is {with_article(type(maker).__name__)}, and must be a class or a function")
        with self.blamed(f"refuses its parameters {params}"):
            return maker(**params)

    @contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Turn what code of the package raises into its `problem`; errors of miaudit stay as they are."""
        try:
            yield
        except MiauditError:
            raise
        except (Exception, SystemExit) as error:
            raise self.problem(f"{what}: {reason_of(error)}") from error

    def problem(self, what: str) -> PlanError:
        """Return the error of this plug-in, in one line."""
        return PlanError(" ".join(f"the plug-in {self.name!r} of {self.distribution} {what}".split()))


def plugins(kind: Kind) -> list[Plugin]:
    """Return all that is installed of a kind, sorted by name, but of packages whose entry points cannot be read."""
    own = [Plugin(entry) for entry in declared()[0] if entry.group == f"miaudit.{kind}"]
    return sorted(own, key=lambda each: each.name)


def plugin(kind: Kind, name: str, *, choices: tuple[str, ...] = ()) -> Plugin:
    """Return the plug-in of a name.

    Parameters
    ----------
    choices
        Names of ours, which an error proposes, too.

    Raises
    ------
    PlanError
        If no installed package declares it, or several do.
    """
    additions = plugins(kind)
    own = [each for each in additions if each.name == name]
    if len(own) == 1:
        return own[0]
    if own:
        raise PlanError(f"{name!r} is declared by {' and by '.join(each.distribution for each in own)}; uninstall one")
    names = (*choices, *(each.name for each in additions))
    hint = nearest(name, names, cutoff=0.4) or f"known are {', '.join(names)}" if names else "no package declares any"
    what = {"attacks": "attack", "recipes": "recipe", "targets": "target", "wire": "format"}[kind]
    raise PlanError("; ".join((f"unknown {what} {name!r}", hint, *declared()[1])))
