"""Sizes are checked before memory is taken: what files claim against what they hold, and against what is free."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from miaudit.auditing.stored import read_outputs
from miaudit.data import load, read_index
from miaudit.data.room import available_bytes, require_room, within_memory
from miaudit.errors import DataError, MiauditError

LIMITED = """
import resource, sys
import miaudit.data, miaudit.auditing.stored, pyarrow.parquet, pandas
from miaudit.errors import MiauditError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
try:
    {call}
except MiauditError as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
"""Runs a reader where 300 MB are left."""


def limited(call):
    script = [sys.executable, "-c", LIMITED.format(call=call)]
    run = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def header(shape, dtype="<f8"):
    content = io.BytesIO()
    npy.write_array_header_2_0(content, {"descr": dtype, "fortran_order": False, "shape": shape})
    return content.getvalue()


def claim(path, **arrays):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_a_claimed_size_is_compared_with_the_file(tmp_path):
    X, y = header((10**12, 100)), header((10**12,), "<i8")
    for content in (X, X + b"\0" * 8):
        with pytest.raises(DataError, match=r"array 'X' claims shape \(1000000000000, 100\) .* are there"):
            load(claim(tmp_path / "a.npz", X=content, y=y))
    with pytest.raises(DataError, match="array 'target' claims"):
        read_outputs(claim(tmp_path / "o.npz", target=X, labels=y, member=y))
    (tmp_path / "i.npy").write_bytes(y)
    with pytest.raises(DataError, match="claims shape"):
        read_index(tmp_path / "i.npy")
    packed = header((4, 1), "|u1") + b"\0" * 4
    labels = header((4,), "<i8") + np.array([0, 1, 0, 1]).tobytes()
    for width in (10**12, -1, 9):
        n = header((), "<i8") + np.int64(width).tobytes()
        with pytest.raises(DataError, match="does not hold n_features"):
            load(claim(tmp_path / "p.npz", X_packed=packed, n_features=n, y=labels))
    with pytest.raises(DataError, match="their lengths differ: X 4, y 2"):
        load(claim(tmp_path / "l.npz", X=header((4, 1)) + b"\0" * 32, y=header((2,), "<i8") + b"\0" * 16))


def test_an_archive_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.txt", "no array")
    with pytest.raises(DataError, match=r"'X\.txt', which is no array"):
        load(tmp_path / "a.npz")
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="holds one array"):
        load(tmp_path / "one.npz")


def test_what_does_not_fit_is_refused_with_advice():
    assert 0 < available_bytes() < 1 << 62
    require_room(1 << 20, "a little")
    with pytest.raises(
        DataError, match=r"everything: .* GiB of memory, 3 times over .* GiB are free; take fewer records"
    ):
        require_room(available_bytes(), "everything")
    with (
        pytest.raises(DataError, match="the frame does not fit into memory .*; take fewer"),
        within_memory("the frame"),
    ):
        raise MemoryError("Unable to allocate 37.3 GiB")


@pytest.mark.slow
def test_packed_files_larger_than_memory_are_refused_where_little_is_free(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    zeros = b"\0" * (1 << 20)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("X.npy", "w", force_zip64=True) as file:
            file.write(header((1 << 15, 1024)))
            for _ in range(256):
                file.write(zeros)
        archive.writestr("y.npy", header((1 << 15,), "<i8") + b"\0" * (8 << 15))
    with gzip.open(tmp_path / "b.csv.gz", "wb", 1) as file:
        file.write(b"a,b,y\n")
        for _ in range(40):
            file.write(b"0,0,0\n" * (1 << 17))
    table = pa.table({"a": np.zeros(1 << 24), "y": np.zeros(1 << 24, np.int8)})
    pq.write_table(table, tmp_path / "b.parquet", compression="zstd")
    text = pa.table({"a": pa.array(["x" * (1 << 20)] * 4096), "y": np.zeros(4096, np.int8)})
    pq.write_table(text, tmp_path / "t.parquet", compression="zstd")
    for name in ("b.npz", "b.csv.gz", "b.parquet"):
        said = limited(f"miaudit.data.load({str(tmp_path / name)!r}, label='y')")
        assert said.startswith("DataError"), (name, said)
        why = "failed" if name == "b.parquet" else "are free"  # a part at a time, as long as there is room
        assert f"{why}; take fewer records" in said.replace(")", ""), (name, said)
    frame = limited(f"miaudit.data.load({str(tmp_path / 't.parquet')!r}, label='y', frame=True, texts=['a'])")
    assert "memory" in frame


@pytest.mark.slow
def test_a_hundred_thousand_classes_take_no_square_of_them(tmp_path):
    n, classes = 400, 100_000
    labels = np.arange(n) * (classes // n)
    np.savez(
        tmp_path / "o.npz",
        target=labels,
        labels=labels,
        member=np.arange(n) % 2,
        classes=np.arange(classes).astype(str),
    )
    said = limited(
        f"import miaudit.auditing.scoring; print(miaudit.auditing.scoring.score({str(tmp_path / 'o.npz')!r}).target.classes)"
    )
    assert said.strip() == "100000" or "take fewer records" in said


def contents():
    X, y = np.linspace(0, 1, 60).reshape(20, 3), np.arange(20) % 2
    cells = ["x", "", "01", '"1,5"', "NA"]
    table = "a,b,y\n" + "".join(f"{i},{cells[i % 5]},{i % 2}\n" for i in range(20))

    def saved(save, *arrays, **named):
        content = io.BytesIO()
        save(content, *arrays, **named)
        return content.getvalue()

    yield "a.npz", saved(np.savez_compressed, X=X, y=y, classes=np.array(["a", "b"]))
    yield "p.npz", saved(np.savez, X_packed=np.packbits(np.eye(20, dtype=np.uint8), axis=1), n_features=20, y=y)
    yield "o.npz", saved(np.savez, target=np.full((20, 2), 0.5), labels=y, member=y, slice_s=np.array(["u", "v"])[y])
    yield "i.npy", saved(np.save, np.arange(5))
    yield "c.csv", table.encode()
    yield "c.csv.gz", gzip.compress(table.encode())
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "s": ["x", None] * 10, "c": pandas.Categorical(["u", "v"] * 10), "y": y})
    yield "q.parquet", saved(lambda file, frame: frame.to_parquet(file), frame)


@pytest.mark.filterwarnings("ignore")  # of the libraries, on broken files
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))])
def test_a_damaged_file_is_refused_or_read(tmp_path, seed):
    draw = random.Random(seed)
    for name, whole in contents():
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(draw.choice([1, 1, 2, 4, 16])):
                at = draw.randrange(len(content)) if content else 0
                if draw.random() < 0.7 and content:
                    content[at] = draw.randrange(256)
                elif draw.random() < 0.5:
                    content[at:at] = draw.randbytes(draw.randrange(1, 9))
                else:
                    del content[at : at + draw.choice([1, 8, 40, len(content)])]
            path = tmp_path / name
            path.write_bytes(content)
            with contextlib.suppress(MiauditError):
                if name == "o.npz":
                    read_outputs(path)
                elif name == "i.npy":
                    read_index(path)
                else:
                    load(path, label="y", frame=not name.endswith("npz") and draw.random() < 0.5)
