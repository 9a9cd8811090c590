"""Models of MLflow by their address: the one file in them that this package reads by its own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miaudit.errors import PlanError
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


def model_file(address: str) -> Path:
    """Return the path of a model's file; of an address in MLflow the file there, fetched. Nothing in it is run.

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
        return Path(address)
    mlflow = require("mlflow", extra="mlflow", what=f"the model {address}")
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=address))
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
    return path


def _within(folder: Path, name: str, address: str) -> Path:
    """Return a file of a model's folder; a description, or a link, may lead anywhere, and is not believed."""
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder.resolve()):
        raise PlanError(f"the model {address} names the file {name!r}, which lies outside its own folder: not read")
    return path
