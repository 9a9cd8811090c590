"""What an ONNX file says of itself, read from its protobuf without running anything: operations, and files of weights.

Only the fields that are needed are read; their numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto,
AttributeProto, TensorProto). A key of the metadata that looks like a file name is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from miaudit.errors import PlanError

_DEEPEST = 32  # subgraphs within one another


@dataclass(frozen=True)
class Node:
    """One operation: its kind, and the names of its inputs and outputs."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    post: str = ""  # what scikit-learn's operations do last: NONE, SOFTMAX, LOGISTIC, ...


@dataclass(frozen=True)
class Graph:
    """The operations of a model's main graph, and every file name under which tensors say they are kept."""

    nodes: tuple[Node, ...]
    locations: tuple[str, ...]

    def maker(self, output: str) -> Node | None:
        """Return the operation that makes an output; those that only change its form are passed over."""
        by_output = {name: node for node in self.nodes for name in node.outputs}
        for _ in range(len(self.nodes)):
            node = by_output.get(output)
            if node is None or node.operation not in _FORMS or not node.inputs:
                return node
            output = node.inputs[0]
        return None


_FORMS = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Round", "ZipMap")


def read_graph(path: Path) -> Graph:
    """Return what an ONNX file says.

    Raises
    ------
    PlanError
        If the file cannot be read, or is no protobuf.
    """
    try:
        content = memoryview(path.read_bytes())
        locations: dict[str, None] = {}
        nodes: list[Node] = []
        for number, value in _fields(content):
            if number == 7 and isinstance(value, memoryview):
                nodes += [_node(each) for n, each in _fields(value) if n == 1 and isinstance(each, memoryview)]
                _walk(value, _GRAPH, locations, 0)
            elif number in (20, 25) and isinstance(value, memoryview):
                _walk(value, _TRAINING if number == 20 else _FUNCTION, locations, 0)
    except (ValueError, IndexError, RecursionError) as error:
        raise PlanError(f"{path} starts like an ONNX model, but is damaged or cut off: {error}") from None
    except OSError as error:
        raise PlanError(f"the model file {path} cannot be read: {error.strerror or error}") from error
    return Graph(tuple(nodes), tuple(locations))


# field number -> what the message in it is
_KINDS: dict[str, dict[int, str]] = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
_GRAPH, _FUNCTION, _TRAINING = "graph", "function", "training"


def _walk(message: memoryview, kind: str, locations: dict[str, None], depth: int) -> None:
    """Collect the file names of all tensors of a message and the messages in it."""
    if depth > _DEEPEST:
        raise ValueError(f"graphs lie in one another more than {_DEEPEST} deep")
    if kind == "tensor":
        for number, value in _fields(message):
            if number == 13 and isinstance(value, memoryview):
                entry = {n: bytes(v) for n, v in _fields(value) if isinstance(v, memoryview)}
                if entry.get(1) == b"location":
                    locations[entry.get(2, b"").decode("utf-8", "replace")] = None
        return
    for number, value in _fields(message):
        inner = _KINDS[kind].get(number)
        if inner is not None and isinstance(value, memoryview):
            _walk(value, inner, locations, depth + 1)


def _node(message: memoryview) -> Node:
    inputs, outputs, operation, post = [], [], "", ""
    for number, value in _fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            operation = _text(value)
        elif number == 5:
            attribute = {n: v for n, v in _fields(value) if isinstance(v, memoryview)}
            if _text(attribute.get(1, memoryview(b""))) == "post_transform":
                post = _text(attribute.get(4, memoryview(b"")))
    return Node(operation, tuple(inputs), tuple(outputs), post)


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message; what has a length as bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            size, at = _varint(message, at)
            if at + size > end:
                raise ValueError("a field is longer than the file")
            yield number, message[at : at + size]
            at += size
        else:
            raise ValueError(f"a field has the wire type {wire}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")


def inside(folder: Path, names: Sequence[str], model: Path) -> list[Path]:
    """Return the files of these names, all of which must lie in the folder itself, symlinks followed.

    In a cache of the Hugging Face hub, ``<repository>/snapshots/<revision>/...``, they may be its links into
    ``<repository>/blobs``, the repository's own files by their hashes.

    Raises
    ------
    PlanError
        If one is outside, is no plain file, or is missing.
    """
    root, files = folder.resolve(), []
    for name in names:
        problem = _outside(root, name)
        if problem:
            raise PlanError(
                f"{model} starts like an ONNX model, but onnxruntime cannot read it: it says that weights are in "
                f"{name[:80]!r}, which {problem}. Put the weights into the model's own folder; nothing outside is read"
            )
        files.append(root / name)
    return files


def _outside(root: Path, name: str) -> str:
    if not name or "\0" in name or len(name) > 1000 or not name.isprintable():
        return "is no file name"
    if Path(name).is_absolute() or "\\" in name or (len(name) > 1 and name[1] == ":"):
        return "is not relative to the model's folder"
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root) and not _cached(root, name, path):
            return "is outside the model's folder"
        return "" if path.is_file() else "is missing there, or is no plain file"
    except (OSError, RuntimeError, ValueError) as error:
        return f"cannot be found: {error}"


def _cached(root: Path, name: str, path: Path) -> bool:
    """Whether the file is what a snapshot in a cache of the Hugging Face hub links to: a blob of the same repository."""
    snapshot = next((folder for folder in (root, *root.parents) if folder.parent.name == "snapshots"), None)
    if snapshot is None or ".." in Path(name).parts:
        return False
    blobs = snapshot.parent.parent / "blobs"
    return path.parent == blobs == blobs.resolve() and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", path.name) is not None
