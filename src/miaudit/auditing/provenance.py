"""Which versions of what a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from miaudit import __version__

_PACKAGES = ("numpy", "scipy", "scikit-learn", "pydantic", "safetensors", "torch")


def versions() -> dict[str, str]:
    """Return the versions of miaudit, Python, and those libraries of figures and formats that are installed."""
    found = {"miaudit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def system() -> dict[str, str]:
    """Return the operating system and the kind of machine."""
    return {"system": platform.platform(), "machine": platform.machine()}
