"""Models of MLflow by their address: the one file in them that this package reads by its own rules."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaudit.errors import PlanError
from miaudit.files import no_temporary
from miaudit.libraries import require
from miaudit.plan.sections import is_address

_FILES = {
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "onnx": "data",
    "pytorch": "model_data",
}
"""Flavours of MLflow whose file `miaudit.targets.load_model` reads, and the key of its description that names it."""


@dataclass(frozen=True)
class ModelFile:
    """A model's file, and the address of the very version that it is of: a path is its own."""

    path: Path
    address: str


class Downloads:
    """Models that were fetched, each once, into one temporary folder, which the first of them makes."""

    def __init__(self) -> None:
        self.files: dict[str, ModelFile] = {}
        self._folder: str | None = None

    def place(self) -> str:
        """Return a new folder for a model.

        Raises
        ------
        PlanError
            If there is no room for temporary files.
        """
        try:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="miaudit-model-")
            return tempfile.mkdtemp(dir=self._folder)
        except OSError as error:
            raise PlanError(no_temporary(error)) from error

    def remove(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


_OPEN: ContextVar[Downloads | None] = ContextVar("downloads", default=None)


@contextmanager
def downloads() -> Iterator[None]:
    """Fetch a model at most once within the block, or the one around it, and remove it at the end."""
    if _OPEN.get() is not None:
        yield
        return
    fetched = Downloads()
    token = _OPEN.set(fetched)
    try:
        yield
    finally:
        _OPEN.reset(token)
        fetched.remove()


def model_file(address: str) -> ModelFile:
    """Return a model's file; of an address in MLflow the file there, fetched. Nothing in it is run.

    An alias, such as ``@champion``, is read once: it may name another version a moment later.

    Parameters
    ----------
    address
        A path, which is returned as it is, or ``models:/name/version``, ``models:/name@alias``, ``models:/id`` or
        ``runs:/run/path``. Where it is looked for is MLflow's to say (``MLFLOW_TRACKING_URI``, ``MLFLOW_REGISTRY_URI``).

    Raises
    ------
    PlanError
        If MLflow is not installed or does not have it, or its file is missing, lies elsewhere, or is of a flavour whose file is
        not read.
    """
    if not is_address(address):
        return ModelFile(Path(address), address)
    fetched = _OPEN.get()
    if fetched is None:  # outside any block it stays until the program ends
        fetched = Downloads()
        atexit.register(fetched.remove)
    if address not in fetched.files:
        file = _fetched(address, fetched)
        fetched.files |= {address: file, file.address: file}
    return fetched.files[address]


def _fetched(address: str, into: Downloads) -> ModelFile:
    mlflow = require("mlflow", extra="mlflow", what=f"the model {address}")
    place = into.place()
    try:
        version = _version(mlflow, address)
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=version, dst_path=place))
        flavours: dict[str, Any] = mlflow.models.Model.load(str(folder)).flavors
    except Exception as error:  # of its many stores, each with errors of its own
        raise PlanError(f"MLflow does not give the model {address}: {error}") from error
    flavour = next((each for each in _FILES if each in flavours), None)
    if flavour is None:
        raise PlanError(
            f"the model {address} has the flavours {', '.join(sorted(flavours))}; read are {', '.join(_FILES)}. Write a "
            "function that asks it (target.function; in Python the function itself)"
        )
    path = _within(folder, str(flavours[flavour].get(_FILES[flavour], "")), address)
    if path.is_dir():  # of torch: a folder with the module beside what it was made with
        path = _within(folder, str(path.relative_to(folder.resolve()) / "model.pth"), address)
    if not path.is_file():
        raise PlanError(f"the model {address} names the file {path.name}, and it is not there")
    return ModelFile(path, version)


def _version(mlflow: Any, address: str) -> str:
    """Return the address of the version that an alias, a stage or ``latest`` names now; other addresses as they are."""
    kind, _, rest = address.partition(":/")
    name, at, alias = rest.partition("@")
    client = mlflow.MlflowClient()
    if kind != "models" or rest.startswith("/"):  # the second names another registry, and is MLflow's to read
        return address
    if at:
        return f"models:/{name}/{client.get_model_version_by_alias(name, alias).version}"
    name, slash, stage = rest.rpartition("/")
    if not slash or stage.isdigit():
        return address
    versions = [
        int(each.version)
        for each in client.search_model_versions(f"name='{name}'")
        if stage.lower() in ("latest", str(each.current_stage).lower())
    ]
    return f"models:/{name}/{max(versions)}" if versions else address


def _within(folder: Path, name: str, address: str) -> Path:
    """Return a file of a model's folder; a description, or a link, may lead anywhere, and is not believed."""
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder.resolve()):
        raise PlanError(f"the model {address} names the file {name!r}, which lies outside its own folder: not read")
    return path
