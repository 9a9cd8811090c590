"""A model of MLflow is fetched once, by the version that its alias names, and then goes: with a library that stands in."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from miaudit.errors import PlanError
from miaudit.targets.registry import downloads, model_file


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of one model whose alias moves on each time it is read."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.skops").write_bytes(b"content")
    asked: list[str] = []

    class Client:
        aliases = iter(["3", "4", "5"])

        def get_model_version_by_alias(self, name, alias):
            return SimpleNamespace(version=next(self.aliases))

        def search_model_versions(self, query):
            return [
                SimpleNamespace(version=version, current_stage=stage)
                for version, stage in (("9", "None"), ("10", "Production"), ("2", "Production"))
            ]

    def download_artifacts(*, artifact_uri, dst_path):
        asked.append(artifact_uri)
        return shutil.copytree(tmp_path / "model", dst_path, dirs_exist_ok=True)

    model = SimpleNamespace(flavors={"sklearn": {"pickled_model": "model.skops"}})
    stand_in = SimpleNamespace(
        MlflowClient=Client,
        artifacts=SimpleNamespace(download_artifacts=download_artifacts),
        models=SimpleNamespace(Model=SimpleNamespace(load=lambda folder: model)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    return asked


def test_a_model_is_fetched_once_within_a_block_and_removed_with_it(registry):
    with downloads():
        first = model_file("models:/churn@champion")
        with downloads():
            assert model_file("models:/churn@champion") == first
            assert model_file(first.address) == first
        assert first.path.read_bytes() == b"content"
    assert first.address == "models:/churn/3"
    assert registry == ["models:/churn/3"]
    assert not first.path.exists()
    assert not first.path.parents[1].exists()
    with downloads():
        assert model_file("models:/churn@champion").address == "models:/churn/4"


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("models:/churn/latest", "models:/churn/10"),
        ("models:/churn/production", "models:/churn/10"),
        ("models:/churn/7", "models:/churn/7"),
        ("models:/m-1f", "models:/m-1f"),
        ("runs:/ab/model", "runs:/ab/model"),
    ],
)
def test_what_names_a_version_is_taken_as_it_is_and_all_else_by_the_version_that_it_names(registry, address, version):
    with downloads():
        assert model_file(address).address == version
    assert registry == [version]


def test_a_path_is_taken_as_it_is(registry):
    assert model_file("models.skops").path == Path("models.skops")
    assert registry == []


def test_only_a_model_that_is_fetched_needs_a_temporary_folder(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with downloads():
        assert model_file("model.skops").path == Path("model.skops")
        with pytest.raises(
            PlanError, match=r"^a temporary file cannot be written into .*none \(No such file.*set TMPDIR"
        ):
            model_file("models:/churn@champion")
    assert registry == []
