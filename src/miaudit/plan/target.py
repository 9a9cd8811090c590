"""What a plan says of the target: where it is, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from miaudit.plan.sections import FilePath, FunctionPath, ModelPath, Section

OutputsName = Literal["probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels"]
"""What a target answers, as `miaudit.evidence.answers.Type`."""


class JobPlan(Section):
    """A server that answers a request with a job, whose state is asked for until the answers are there."""

    id: str = Field("id", description="path of the job in the answer to a request, as data.job")
    status: str | None = Field(
        None, description="address of a job's state, with {job} for the job; default: the job is an address itself"
    )
    state: str = Field("status", description="path of the state in the answer of that address")
    done: list[str] = Field(
        ["done", "succeeded", "success", "completed", "complete", "ready", "finished"],
        description="states in which the answers are there, in any case",
    )
    failed: list[str] = Field(
        ["failed", "error", "cancelled", "canceled"], description="states in which they will never be, in any case"
    )
    result: str | None = Field(
        None, description="address of the answers, with {job}; default: they are in the last answer about the state"
    )
    every: float = Field(1.0, gt=0, description="seconds between two looks at the state")
    wait: float = Field(600.0, gt=0, description="seconds in all before a request counts as lost")


class CertificatesPlan(Section):
    """How a server proves who it is, and we who we are."""

    ca: FilePath | None = Field(None, description="file of the certificate authorities to trust")
    certificate: FilePath | None = Field(None, description="file of the client's certificate")
    key: FilePath | None = Field(None, description="file of its key")


class HTTPPlan(CertificatesPlan):
    """How the server at target.url is spoken to and reached, and what may be asked of it."""

    format: str | None = Field(
        None,
        description="the wire format; must be given with a url, unless encode and decode are: `v2`, `instances`, `mlflow`, "
        "`sagemaker-csv`, `huggingface`, "
        "`sagemaker-json`, `json`, or that of an installed package (docs/extending.md)",
    )
    model: str | None = Field(None, description="v2, instances: the model's name, where the url is the server's alone")
    version: str | None = Field(None, description="v2, instances: its version")
    input: str | None = Field(None, description="v2: name of the input tensor")
    datatype: str | None = Field(None, description="v2: type to send numbers as, such as FP32; default: their own")
    output: str | None = Field(None, description="which output to read; of MLServer, predict_proba")
    send: str | None = Field(None, description="mlflow, sagemaker-json: which form of body")
    body: str | None = Field(
        None,
        description='json: the body, with "$records" or "$record" (lists of values), or "$objects" or "$object", where the '
        'records go; "$record.NAME" is one column of a record',
    )
    each: str | None = Field(
        None, description='json: one record of a batch, which "$each" in body lists; "$id" in it is its number'
    )
    id: str | None = Field(
        None, description="json: key of the record's number in each answer, where answers come in another order"
    )
    encode: FunctionPath | None = Field(
        None, description="file.py:name of a function from records to a body: bytes, a text, or what JSON can hold"
    )
    decode: FunctionPath | None = Field(
        None,
        description="file.py:name of a function from the bytes that come back, and the number of records, to answers",
    )
    scale: float | None = Field(None, gt=0, description="numbers are answered times this: 100 for percent")
    answer: str | None = Field(None, description="json: path of the answers in what comes back, as data.*.probs")
    columns: list[str] | None = Field(None, description="class names in the order of the answers' columns")
    outputs: OutputsName | None = Field(None, description="as target.outputs")
    positive: str | None = Field(None, description="as target.positive")
    batch: int = Field(100, ge=1, description="most records per request")
    concurrency: int = Field(4, ge=1, description="most requests at a time")
    contact: int = Field(5, ge=1, description="records asked about at first contact, twice each")
    budget: int | None = Field(None, ge=1, description="most records that may be sent, over all runs in one folder")
    rate: float | None = Field(None, gt=0, description="most records per second")
    price: float | None = Field(None, ge=0, description="of 1,000 records, for the estimate")
    failing: int = Field(
        10, ge=0, description="most records that the server may refuse one by one: they are left out of the figures"
    )
    gzip: bool = Field(False, description="send bodies compressed")
    job: JobPlan | None = Field(None, description="where the server answers with a job that is to be waited for")
    headers: dict[str, str] = Field({}, description='sent with every request; "env:NAME" stands for a variable')
    timeout: float = Field(30.0, gt=0, description="seconds for one attempt in all, from connecting to the last byte")
    retries: int = Field(5, ge=0, description="further attempts after a dropped connection, a timeout or a 5xx status")
    patience: float = Field(300.0, ge=0, description="seconds in all that one request may be told to slow down")
    slow_down: list[int] = Field([], description="statuses that mean slow down, beside 408, 425 and 429")
    proxy: str | None = Field(None, description="address of a proxy; default: the environment's")
    sign: FunctionPath | None = Field(
        None, description="file.py:name of a function that adds headers, such as a signature"
    )


class LimitsPlan(Section):
    """What may be asked of the function that is the target; its answers are kept as those of a server are."""

    version: str | None = Field(None, description="of the model that it asks: another one's answers are kept apart")
    batch: int = Field(100, ge=1, description="most records in one call")
    budget: int | None = Field(None, ge=1, description="most records that may be asked, over all runs in one folder")
    rate: float | None = Field(None, gt=0, description="most records per second")
    price: float | None = Field(None, ge=0, description="of 1,000 records, for the estimate")
    failing: int = Field(10, ge=0, description="most records on which it may fail: they are left out of the figures")


class TargetPlan(Section):
    """The model under audit, if it exists already; without it, one is trained by the recipe on the members."""

    url: str | None = Field(None, description="address of a server that answers for it; see docs/endpoints.md")
    http: HTTPPlan = HTTPPlan()  # type: ignore[call-arg]
    function: FunctionPath | None = Field(
        None, description="file.py:name of a function from records to answers, such as a client of your own"
    )
    limits: LimitsPlan = LimitsPlan()  # type: ignore[call-arg]
    file: ModelPath | None = Field(
        None,
        description="the trained model: ONNX, skops, XGBoost, LightGBM, safetensors, torch weights; others with consent. "
        "Or its address in MLflow, as `models:/name/3`",
    )
    module: FunctionPath | None = Field(
        None, description="file.py:name of a function that returns the torch module of bare weights"
    )
    weights: str | None = Field(
        None, description="where the weights lie in a checkpoint that holds more: state_dict of Lightning's"
    )
    output: str | int | None = Field(
        None,
        description="of an ONNX model or torch module with several outputs: name of the one to read, or its place in a tuple",
    )
    plugin: str | None = Field(None, description="a target that an installed package declares; see docs/extending.md")
    params: dict[str, Any] = Field({}, description="parameters of that plug-in")
    outputs: OutputsName | None = Field(
        None, description="what it answers; default: decided at first contact, and refused where that is not clear"
    )
    columns: list[str] | None = Field(
        None, description="class names in the order of the model's columns and class numbers; default: the data's"
    )
    positive: str | None = Field(
        None,
        description="of two classes the one that a single number a record is of; default: of the classes 0 and 1 it is 1",
    )
    description: str | None = Field(None, description="what to call it in the report")

    @model_validator(mode="before")
    @classmethod
    def _gives_no_consent(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and "trusted" in content:
            raise ValueError(
                "trusted is consent, which no plan can give: leave it out, and give each type that you trust by --trusted "
                "TYPE (in Python, trusted=[...])"
            )
        return content

    @model_validator(mode="after")
    def _described_by_a_file(self) -> TargetPlan:
        for key in ("module", "weights", "output"):
            if self.file is None and getattr(self, key):
                raise ValueError(f"{key} belongs to file, a trained model")
        if self.weights and not self.module:
            raise ValueError("weights says where weights lie in a checkpoint: give module, to which they belong")
        ways = [way for way in ("file", "url", "function", "plugin") if getattr(self, way) is not None]
        if not ways and (self.description or self.outputs or self.columns or self.positive):
            raise ValueError(
                "description, outputs, columns and positive belong to file, url, function or plugin, a model that exists "
                "already"
            )
        if self.params and self.plugin is None:
            raise ValueError("params belong to plugin, a target that an installed package declares")
        for key in ("outputs", "columns", "positive"):
            if getattr(self, key) is not None and getattr(self.http, key) not in (None, getattr(self, key)):
                raise ValueError(
                    f"{key} and http.{key} differ: {getattr(self, key)} and {getattr(self.http, key)}; give one"
                )
        if len(ways) > 1:
            raise ValueError(f"say where the target is in one way: {' or '.join(ways)}")
        if self.url is None and self.http.model_fields_set:
            raise ValueError("http belongs to url, the address of the server")
        if self.function is None and self.limits.model_fields_set:
            raise ValueError("limits belong to function; those of a url stand in http")
        if self.url is not None and self.http.format is None and not (self.http.encode and self.http.decode):
            raise ValueError('http.format is missing: how the server is spoken to, such as "v2" or "instances"')
        return self
