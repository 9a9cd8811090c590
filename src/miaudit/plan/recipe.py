"""What a plan says of how one model of the target's kind is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from miaudit.plan.sections import Command, FilePath, FunctionPath, ImportPath, Section
from miaudit.plan.target import CertificatesPlan


class Step(BaseModel):
    """A step of a pipeline: a class and its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    class_: ImportPath = Field(alias="class", description="import path of a transformer")
    params: dict[str, Any] = Field({}, description="its parameters")


class ServicePlan(CertificatesPlan):
    """A service that trains; its further keys are those of `miaudit.recipes.ServiceRecipe`."""

    model_config = ConfigDict(extra="allow")


class RecipePlan(Section):
    """How to train one model of the target's kind."""

    task: Literal["classification", "regression"] = Field(
        "classification", description="what models answer: a class, or a real number (docs/regression.md)"
    )
    residual: Literal["absolute", "squared", "log"] = Field(
        "absolute", description="of a regression: what attacks read off its errors"
    )
    estimator: ImportPath | None = Field(None, description="import path of a scikit-learn classifier, or regressor")
    standin: Literal["amazon-like", "google-like"] | None = Field(
        None, description="a local stand-in for one of the paper's two services"
    )
    plugin: str | None = Field(None, description="a recipe that an installed package declares; see docs/extending.md")
    params: dict[str, Any] = Field({}, description="parameters of the classifier, the stand-in or the plug-in")
    steps: list[Step] = Field([], description="transformers before it, in order")
    function: FunctionPath | None = Field(
        None, description="file.py:name of a function that returns an estimator, a pipeline or a recipe"
    )
    train: FunctionPath | None = Field(
        None,
        description="file.py:name of your training function, train(X, y, seed) -> model; see docs/training-code.md",
    )
    predict: FunctionPath | None = Field(
        None,
        description="train: file.py:name of predict(model, X) -> answers; default: the model is asked as a target is",
    )
    command: Command | None = Field(
        None,
        description="a command that trains and answers, with {records}, {seed} and {answers}; see docs/training-code.md",
    )
    folder: FilePath | None = Field(None, description="command: where it is run; default: the plan's folder")
    timeout: float | None = Field(None, gt=0, description="command: seconds after which a model counts as failed")
    files: list[FilePath] = Field(
        [], description="train, command: further files that decide the model, such as first weights"
    )
    clone: bool = Field(
        False, description="train clones of the scikit-learn model in target.file (skops, joblib or pickle)"
    )
    network: dict[str, Any] | None = Field(None, description="a torch network: kind, hidden, epochs, ...")
    service: ServicePlan | None = Field(
        None, description="a service that trains: the address train, and further keys (docs/service.md)"
    )
    sisa: dict[str, Any] | None = Field(
        None,
        description="train in isolated shards around it: shards, slices, aggregate = mean or vote (docs/unlearning.md)",
    )
    class_sisa: dict[str, Any] | None = Field(
        None,
        description="train in shards of whole classes behind a gate: shards, gate = retrained, kept or none, slices, replay, "
        "buffer (docs/unlearning.md)",
    )
    encode: bool | None = Field(
        None,
        description="put one-hot and scaling, as the columns need, before the model; default: unless a function, train, "
        "command, plug-in, service or clone",
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_the_plan(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and content.get("command") is not None and content.get("folder") is None:
            return {**content, "folder": "."}
        return content

    @model_validator(mode="after")
    def _one_kind(self) -> RecipePlan:
        ways = ("estimator", "standin", "function", "train", "command", "service", "plugin", "clone", "network")
        if sum(getattr(self, way) not in (None, False) for way in ways) != 1:
            raise ValueError(f"say how models are trained in one way: {', '.join(ways[:-1])}, or {ways[-1]}")
        if self.sisa is not None and self.class_sisa is not None:
            raise ValueError("sisa and class_sisa are two ways to train in shards: give one of them")
        if (self.sisa is not None or self.class_sisa is not None) and self.task == "regression":
            raise ValueError(
                "sisa and class_sisa are of models that answer classes: leave them out with task = regression"
            )
        of_code = {"predict": ["train"], "folder": ["command"], "timeout": ["command"], "files": ["train", "command"]}
        for key, owners in of_code.items():
            if getattr(self, key) and all(getattr(self, owner) is None for owner in owners):
                raise ValueError(f"{key} belongs to {' or '.join(owners)}")
        if self.encode and (self.train or self.command):
            raise ValueError("encode is not for train and command, which get records as they are: encode them there")
        if self.params and self.estimator is None and self.standin is None and self.plugin is None:
            raise ValueError("params belong to estimator, standin or plugin")
        if self.steps and self.estimator is None:
            raise ValueError("steps belong to estimator")
        if "residual" in self.model_fields_set and self.task != "regression":
            raise ValueError('residual belongs to task = "regression"')
        return self
