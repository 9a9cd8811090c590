"""No file of any name, wherever miaudit reads one, is unpickled without consent.

Every content here leaves a mark when it is unpickled; `test_every_content_would_leave_its_mark` shows that it does. All of
them are then put wherever a file is read, under every name, and none may leave it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import shutil
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import networks
import numpy as np
import pytest
import skops.io
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from miaudit.auditing.stored import read_outputs
from miaudit.canaries import Canaries, audit_folder, load_planted, plant, save_planted
from miaudit.cli import main
from miaudit.data import NAMED, from_arrays, load, load_named, load_parts, npz, read_index
from miaudit.errors import MiauditError
from miaudit.recipes import Network, load_weights
from miaudit.report import write
from miaudit.result import Result
from miaudit.store import Store
from miaudit.synthesis import Domain, Marginals, Synthesis
from miaudit.targets import files, load_model

CLASSES = ("0", "1")


class Boom:
    """A pickle of this writes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path(self.mark), "boom")


class Thawed:
    """An object that skops builds again writes a file when its state is set."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["mark"]).write_text("boom")


class Weighted(torch.nn.Linear):
    """A module whose state unpickles into a mark."""

    def __init__(self, mark: Path) -> None:
        super().__init__(2, 2)
        self.boom = Boom(mark)


def in_memory(save: Callable[[io.BytesIO], Any]) -> bytes:
    content = io.BytesIO()
    save(content)
    return content.getvalue()


def zipped(**members: bytes) -> bytes:
    def save(content: io.BytesIO) -> None:
        with zipfile.ZipFile(content, "w") as archive:
            for name, held in members.items():
                archive.writestr(name, held)

    return in_memory(save)


def object_array(boom: Boom) -> np.ndarray:
    return np.array([boom, None], dtype=object)


def npz_of(boom: Boom, *names: str) -> bytes:
    """An archive in which the arrays of these names hold objects, beside plain labels."""
    objects = dict.fromkeys(names, object_array(boom))
    plain = {"y": np.arange(2)} if "X" in names else {"labels": np.arange(2), "member": np.array([True, False])}
    return in_memory(lambda file: np.savez(file, **objects, **plain))


def raw_members(boom: Boom) -> bytes:
    bomb = pickle.dumps(boom)
    plain = in_memory(lambda file: np.save(file, np.arange(2)))
    return zipped(**{"X.npy": bomb, "target.npy": bomb, "y.npy": plain, "labels.npy": plain, "member.npy": plain})


def torch_zip(boom: Boom, member: str = "data.pkl") -> bytes:
    bomb = pickle.dumps(boom, protocol=2)
    return zipped(**{f"archive/{member}": bomb, "archive/data.pkl": bomb, "archive/version": b"3\n"})


def torch_tar(boom: Boom) -> bytes:
    def save(content: io.BytesIO) -> None:
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                bomb = pickle.dumps(boom, protocol=2)
                info = tarfile.TarInfo(name)
                info.size = len(bomb)
                archive.addfile(info, io.BytesIO(bomb))

    return in_memory(save)


def parquet_of(boom: Boom) -> bytes:
    """A table whose schema names an extension type that Arrow once unpickled when it read the file."""
    import pyarrow as pa
    from pyarrow import parquet

    bomb = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(boom)}
    table = pa.table(
        [pa.array([1.0, 2.0]), pa.array(["a", "b"])],
        schema=pa.schema([pa.field("x", pa.float64(), metadata=bomb), pa.field("y", pa.string())]),
    )
    return in_memory(lambda file: parquet.write_table(table, file))


def compressed_joblib(boom: Boom, method: str) -> bytes:
    return in_memory(lambda file: joblib.dump(boom, file, compress=(method, 3)))


CONTENTS: dict[str, Callable[[Boom], bytes]] = {
    **{f"pickle, protocol {i}": lambda boom, i=i: pickle.dumps(boom, protocol=i) for i in range(6)},
    "pickle after a byte order mark": lambda boom: b"\xef\xbb\xbf" + pickle.dumps(boom, protocol=0),
    "pickle after a line": lambda boom: b"N." + pickle.dumps(boom),
    "cloudpickle": cloudpickle.dumps,
    "gzip": lambda boom: gzip.compress(pickle.dumps(boom)),
    "bz2": lambda boom: bz2.compress(pickle.dumps(boom)),
    "xz": lambda boom: lzma.compress(pickle.dumps(boom)),
    "zlib": lambda boom: zlib.compress(pickle.dumps(boom)),
    "joblib": lambda boom: in_memory(lambda file: joblib.dump({"model": boom, "X": np.zeros(3)}, file)),
    **{f"joblib, {m}": lambda boom, m=m: compressed_joblib(boom, m) for m in ("zlib", "gzip", "bz2", "xz", "lzma")},
    "npy of objects": lambda boom: in_memory(lambda file: np.save(file, object_array(boom), allow_pickle=True)),
    "npz of objects": lambda boom: npz_of(boom, "X"),
    "npz of pickles": raw_members,
    "npz of answers": lambda boom: npz_of(boom, "target"),
    "npz of names": lambda boom: npz_of(boom, "ids", "slice_a", "target"),
    "torch, zip": lambda boom: in_memory(lambda file: torch.save(boom, file)),
    "torch, old form": lambda boom: in_memory(
        lambda file: torch.save(boom, file, _use_new_zipfile_serialization=False)
    ),
    "torch, tar": torch_tar,
    "torch, a module": lambda boom: in_memory(lambda file: torch.save(Weighted(boom.mark), file)),
    "torch, weights and more": lambda boom: in_memory(
        lambda file: torch.save({"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "more": boom}, file)
    ),
    "TorchScript, constants": lambda boom: torch_zip(boom, "constants.pkl"),
    "torch.export": lambda boom: zipped(
        **{"archive_format": b"pt2", "serialized_exported_program.json": b"{}", "a/data.pkl": pickle.dumps(boom)}
    ),
    "skops": lambda boom: skops.io.dumps(Thawed(boom.mark)),
    "skops, a pickle beside": lambda boom: zipped(**{"schema.json": b"{}", "model.pkl": pickle.dumps(boom)}),
    "parquet": parquet_of,
    "safetensors of a pickle": lambda boom: (100).to_bytes(8, "little") + b"{" + pickle.dumps(boom),
    "onnx and a pickle": lambda boom: b"\x08\x09\x12" + pickle.dumps(boom),
}
QUICK = ("npz of objects",)
NAMES = (
    *("m.pkl", "m.joblib", "m.npy", "m.npz", "m.pt", "m.pth", "m.ckpt", "m.zip", "m.onnx", "m.skops", "m.safetensors"),
    *("m.csv", "m.csv.gz", "m.tsv", "m.txt", "m.parquet", "m.json", "m.toml", "m.bin", "m"),
)


FEW_NAMES = ("m.onnx", "m.npz", "m.npy", "m.csv.gz", "m.parquet")
PICKLED_MEMBER = {
    "npz of pickles": "X.npy",
    "TorchScript, constants": "archive/constants.pkl",
    "torch.export": "a/data.pkl",
    "skops, a pickle beside": "model.pkl",
}


def as_it_was_meant(content: bytes, name: str) -> None:
    """Read a content as a careless program does."""
    file = io.BytesIO(content)
    if name in ("npy of objects", "npz of objects", "npz of answers", "npz of names"):
        arrays = np.load(file, allow_pickle=True)
        for key in getattr(arrays, "files", ()):
            arrays[key]
    elif name.startswith("torch, ") and name != "torch, tar":
        torch.load(file, weights_only=False)
    elif name == "skops":
        skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    elif name.startswith("joblib"):
        joblib.load(file)
    elif name in ("gzip", "bz2", "xz", "zlib"):
        pickle.loads({"gzip": gzip, "bz2": bz2, "xz": lzma, "zlib": zlib}[name].decompress(content))  # type: ignore[attr-defined]
    elif name in PICKLED_MEMBER:
        with zipfile.ZipFile(file) as archive:
            pickle.loads(archive.read(PICKLED_MEMBER[name]))
    elif name == "torch, tar":
        with tarfile.open(fileobj=file) as archive:
            pickle.load(archive.extractfile("pickle"))  # type: ignore[arg-type]
    elif name == "parquet":
        from pyarrow import parquet

        field = parquet.read_schema(file).field("x")
        content = (field.metadata or {}).get(b"ARROW:extension:metadata")
        pickle.loads(content or field.type.__arrow_ext_serialize__())  # older ones of PyArrow know the type
    else:
        starts = {"pickle after a byte order mark": 3, "pickle after a line": 2, "onnx and a pickle": 3}
        pickle.loads(content[9 if name == "safetensors of a pickle" else starts.get(name, 0) :])


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Path]:
    """Every content, and the mark all of them leave."""
    mark = tmp_path_factory.mktemp("bombs") / "mark"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: make(Boom(mark)) for name, make in CONTENTS.items()}, mark


@pytest.fixture
def contents(bombs: tuple[dict[str, bytes], Path]) -> Iterator[dict[str, bytes]]:
    made, mark = bombs
    mark.unlink(missing_ok=True)
    yield made
    assert not mark.exists(), "a file was unpickled without consent"


@pytest.mark.parametrize("name", CONTENTS)
def test_every_content_would_leave_its_mark(tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = CONTENTS[name](Boom(tmp_path / "mark"))
        assert not (tmp_path / "mark").exists()
        with suppress(TypeError, AttributeError):  # what is left of the object is of no use
            as_it_was_meant(content, name)
    assert (tmp_path / "mark").exists()


def attempt(read: Callable[[], Any], *, refused: bool = True) -> None:
    """Read; a refusal of ours is what is wanted, a value is fine where nothing of the pickle was needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(MiauditError) if refused else suppress(Exception):
            read()


DOMAIN = Domain.of(from_arrays(np.arange(12.0).reshape(6, 2), np.arange(6) % 2))
READERS: dict[str, Callable[[Path], Any]] = {
    "a model": lambda path: load_model(path, names=CLASSES),
    "a model with trust": lambda path: load_model(path, names=CLASSES, trusted=("numpy.ndarray",)),
    "weights": lambda path: load_model(path, names=CLASSES, module=networks.net),
    "weights of a recipe": lambda path: load_weights(Network(kind="mlp", hidden=(3,)), path, classes=2, shape=(2,)),
    "records": lambda path: load(path, label="y"),
    "records with ids": lambda path: load(path, label="y", ids="X", slices=("X",)),
    "a frame": lambda path: load(path, label="y", frame=True),
    "sides": lambda path: load_parts([path, path], label="y"),
    "record numbers": read_index,
    "stored outputs": read_outputs,
    "marginals": lambda path: Marginals.load(path, DOMAIN, CLASSES, by_class=False),
}


@pytest.mark.parametrize(
    "names", [FEW_NAMES, pytest.param(NAMES, marks=pytest.mark.slow)], ids=["few names", "all names"]
)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_unpickles_a_file_of_any_name(
    contents: dict[str, bytes], tmp_path: Path, reader: str, names: tuple[str, ...]
) -> None:
    read_all(contents, tmp_path, reader, names)


def read_all(
    contents: dict[str, bytes], folder: Path, reader: str, names: tuple[str, ...] = FEW_NAMES, *, refused: bool = True
) -> None:
    for name in names:
        path = folder / name
        for content in contents.values():
            path.write_bytes(content)
            attempt(lambda path=path: READERS[reader](path), refused=refused)


def trusting_header(file: Any, size: int, what: str) -> npz.Header:
    npz.npy.read_magic(file)
    shape, _, dtype = npz.npy.read_array_header_1_0(file)
    return npz.Header(tuple(shape), dtype)


@pytest.mark.parametrize(
    ("reader", "weakness"),
    [
        *((reader, "numpy") for reader in ("records", "records with ids", "sides", "record numbers", "stored outputs")),
        ("a model", "formats"),
        ("weights", "torch"),
        ("a model", "skops"),
    ],
)
def test_a_reader_that_trusts_what_it_reads_would_be_found(
    bombs: tuple[dict[str, bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, weakness: str
) -> None:
    """The test above can fail: a mark is left as soon as one of the guards is taken away."""
    contents, mark = bombs
    mark.unlink(missing_ok=True)
    match weakness:
        case "numpy":
            read = npz.npy.read_array
            monkeypatch.setattr(npz.npy, "read_array", lambda file, **options: read(file, allow_pickle=True))
            monkeypatch.setattr(npz, "_header", trusting_header)
        case "formats":
            monkeypatch.setattr(files, "_RUNS_CODE", {})
        case "torch":
            load_all = torch.load
            monkeypatch.setattr(torch, "load", lambda file, **options: load_all(file, weights_only=False))
        case "skops":
            monkeypatch.setattr(skops.io, "get_untrusted_types", lambda file: [])
            monkeypatch.setattr(
                skops.io,
                "load",
                lambda file, trusted: skops.io.loads(file.read_bytes(), trusted=[f"{__name__}.Thawed"]),
            )
    read_all(contents, tmp_path, reader, refused=False)
    assert mark.exists()
    mark.unlink()


def test_no_named_data_set_is_unpickled(contents: dict[str, bytes], tmp_path: Path) -> None:
    for name, info in NAMED.items():
        for kind in ("pickle, protocol 4", "npz of objects", "npz of pickles", "npy of objects", "joblib", "gzip"):
            folder = tmp_path / f"{name} {kind}"
            for file in info.files:
                path = folder / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents[kind])
            attempt(lambda folder=folder, name=name: load_named(name, folder))


def planted_folder(folder: Path) -> None:
    rng = np.random.default_rng(0)
    save_planted(plant(from_arrays(rng.normal(size=(60, 2)), np.arange(60) % 2), Canaries(10), seed=1), folder)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in CONTENTS]
)
def test_no_canary_folder_is_unpickled(contents: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    content = contents[kind]
    for member in ("training.npz", "canaries.npz", "training.csv", "sealed.json", "audit.json"):
        folder = tmp_path / "planted"
        shutil.rmtree(folder, ignore_errors=True)
        planted_folder(folder)
        if member == "training.csv":
            sealed = json.loads((folder / "sealed.json").read_text())
            sealed["files"][member] = sealed["files"].pop("training.npz")
            (folder / "sealed.json").write_text(json.dumps(sealed))
        (folder / member).write_bytes(content)
        seal_again(folder, member)
        attempt(lambda folder=folder: load_planted(folder))
        if member == "audit.json":
            attempt(lambda folder=folder: audit_folder(folder, LogisticRegression(), fingerprint="x"))


def seal_again(folder: Path, member: str) -> None:
    """Write hashes that fit, as whoever puts a file into a folder can."""
    if member in ("sealed.json", "audit.json"):
        return
    sealed = json.loads((folder / "sealed.json").read_text())
    sealed.pop("seal")
    sealed["files"][member] = hashlib.sha256((folder / member).read_bytes()).hexdigest()
    seal = hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()
    (folder / "sealed.json").write_text(json.dumps(sealed | {"seal": seal}))


def test_no_file_of_an_output_folder_is_unpickled(contents: dict[str, bytes], tmp_path: Path) -> None:
    key = "ab" + 62 * "0"
    for content in contents.values():
        folder = tmp_path / "out"
        shutil.rmtree(folder, ignore_errors=True)
        store = Store(folder)
        store.put(key, {"outputs": np.zeros((2, 2), np.float32)}, {})
        store.path(key).write_bytes(content)
        attempt(lambda folder=folder: Store(folder).get(key))
        for name in (
            "synthesis.npz",
            "synthesis.json",
            "synthesis-state.npz",
            "result.json",
            "records.csv",
            "store.json",
        ):
            (folder / name).write_bytes(content)
        (folder / "journal.jsonl").write_bytes(content)
        attempt(lambda folder=folder: Store(folder))
        attempt(lambda folder=folder: Result.load(folder))
        attempt(lambda folder=folder: write(Result.load(folder), folder))
        attempt(lambda folder=folder: Synthesis.load(folder, None, CLASSES))  # type: ignore[arg-type]


PLAN = """
data = {{ path = "{data}", label = "y" }}
split = {{ members = {split}, nonmembers = {split} }}
target = {{ {target} }}
recipe = {{ estimator = "sklearn.linear_model.LogisticRegression" }}
shadows = {{ count = 2 }}
synthesis = {{ marginals = "{table}" }}
engine = {{ jobs = 0 }}
"""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow)
        for kind in ("pickle, protocol 4", "npz of objects", "torch, zip", "skops", "joblib")
    ],
)
@pytest.mark.parametrize("command", ["run", "synthesize", "canaries plant", "canaries run", "canaries audit", "score"])
def test_no_command_unpickles_what_a_plan_names(
    contents: dict[str, bytes], tmp_path: Path, command: str, kind: str
) -> None:
    content = contents[kind]
    np.savez(tmp_path / "good.npz", X=np.random.default_rng(0).normal(size=(60, 2)), y=np.arange(60) % 2)
    planted_folder(tmp_path / "planted")
    for name in ("bad.npz", "bad.onnx", "bad.npy", "bad.csv", "bad.parquet", "bad.toml"):
        (tmp_path / name).write_bytes(content)
    plans = [
        {"data": "bad.npz", "split": "20", "target": 'file = "bad.onnx"'},
        {"data": "good.npz", "split": "20", "target": 'file = "bad.onnx"'},
        {"data": "good.npz", "split": '"bad.npy"', "target": 'file = "bad.csv"'},
        {"data": "bad.parquet", "split": '"bad.csv"', "target": 'file = "bad.npz"'},
    ]
    if command == "synthesize":
        plans.append({"data": "good.npz", "split": "20", "target": ""})
    for number, plan in enumerate(plans):
        (tmp_path / f"plan{number}.toml").write_text(PLAN.format(**plan, table="bad.npz"))
    subjects = [*(f"plan{number}.toml" for number in range(len(plans))), "bad.toml"]
    extra = ["--method", "marginals"] if command == "synthesize" else []
    if command == "canaries audit":
        subjects, extra = ["planted"], ["--model", str(tmp_path / "bad.onnx")]
    if command in ("score", "canaries plant"):
        subjects = [*subjects, "bad.npz"]
    for subject in subjects:
        out = [] if command == "canaries audit" else ["--out", str(tmp_path / f"out {subject}")]
        ended = CliRunner().invoke(main, [*command.split(), str(tmp_path / subject), *extra, *out])
        assert ended.exit_code not in (0, 1, 70), (subject, ended.output)
        assert isinstance(ended.exception, SystemExit)
