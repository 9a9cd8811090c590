"""Records that lie in a file: what is read, what is sent to another process, and that figures stay the same."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit.data import Dataset, Schema, copies, from_arrays, load, load_parts, mapped, partial, tables
from miaudit.data import parquet as of_parquet
from miaudit.data.hashes import row_hashes
from miaudit.data.mapped import Place, is_mapped
from miaudit.data.records import check_finite, stack_records, take_records
from miaudit.data.schema import infer_column
from miaudit.errors import DataError
from miaudit.files import _others_can_read
from miaudit.recipes import Network
from miaudit.shadows.training import Job, _fitted


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", (X[:, 0] > 0).astype(int))
    return tmp_path / "X.npy"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(mapped, "HELD", 100)
    monkeypatch.setattr(mapped, "BLOCK", 256)


def test_takes_and_stacks_of_mapped_records_are_mapped_where_they_are_large(file, small):
    X, there = np.load(file, mmap_mode="r+"), np.load(file)
    for rows in (np.arange(50, 150), np.random.default_rng(1).permutation(400), np.array([3, 2, 1] * 9)):
        part = take_records(X, rows)
        assert is_mapped(part)
        assert not part.flags.writeable
        np.testing.assert_array_equal(part, there[rows])
    assert not is_mapped(take_records(X, np.array([3, 1])))
    both = stack_records([X[100:], X[:30]])
    assert is_mapped(both)
    np.testing.assert_array_equal(both, np.concatenate([there[100:], there[:30]]))
    assert (row_hashes(X) == row_hashes(there)).all()


def test_a_temporary_file_goes_with_the_array(file, small):
    part = take_records(np.load(file, mmap_mode="r"), np.arange(400)[::-1])
    place = Place.of(part)
    assert place is not None
    np.testing.assert_array_equal(place.read(), part)
    del part
    with pytest.raises(FileNotFoundError):
        place.read()


@pytest.fixture(params=[pytest.param(True, id="nameless"), pytest.param(False, id="named")])
def folder(request, tmp_path, monkeypatch):
    """The folder of temporary files, and nothing else in it; of named ones, no process says that it can open a nameless one."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    if not request.param:
        monkeypatch.setenv("PATH", str(path))
    _others_can_read.cache_clear()
    yield path
    _others_can_read.cache_clear()


def open_files(folder):
    """Return the size on disk, and the size, of each file of a folder that this process has open."""
    files = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of the one that lists them
            if str(folder) in str(link.readlink()):
                status = link.stat()
                files[status.st_ino] = (status.st_blocks * 512, status.st_size)
    return list(files.values())


@pytest.fixture
def full_disk(folder):
    """Refuse files above 4 kB, as a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_temporary_file_stays_where_its_blocks_fail(folder):
    def blocks():
        yield np.ones(5)
        raise ValueError("the second block")

    with pytest.raises(ValueError, match="the second block"):
        mapped.written(blocks(), 10, np.empty(0))
    assert not open_files(folder)
    assert not list(folder.iterdir())


def test_records_whose_file_is_gone_are_never_those_of_another(folder):
    """The path of a file without a name is a descriptor's, whose number the next file gets."""
    content = np.arange(10.0)
    records = mapped.written([content], 10, content)
    place = Place.of(records)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(place)).read(), content)
    del records
    other = mapped.written([-content], 10, content)
    assert (Place.of(other).path == place.path) == (os.environ["PATH"] != str(folder))
    with pytest.raises(FileNotFoundError):
        place.read()
    del other
    ends = os.pipe()
    with pytest.raises(FileNotFoundError):  # nor does it wait for what nobody writes
        place.read()
    for end in ends:
        os.close(end)


AT_THE_LIMIT = """
import os, resource, sys
import numpy as np
from miaudit.data import mapped
from miaudit.errors import DataError

makes = [lambda: mapped.written([np.arange(9.0)], 9, np.empty(0)), lambda: mapped.NumbersOnDisk(2, 9)]
arrays = [make() for make in makes]
place = mapped.Place.of(arrays[0])
numbers = []
for limit in range(60, 66):  # whichever of the descriptors of an array is the one too many
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for make in [*makes, place.read]:
        arrays = [arrays[0]]
        try:
            while len(arrays) < 99:
                arrays.append(make())
        except DataError as error:
            assert f"may have {limit} files open" in str(error) and "ulimit -n" in str(error), error
            assert "free some space" not in str(error)
        numbers.append(len(arrays))
print(*numbers)
"""


@pytest.mark.parametrize("named", [False, True])
def test_a_process_that_can_open_no_more_files_is_told_so(tmp_path, named):
    pytest.importorskip("resource")
    environment = os.environ | {"TMPDIR": str(tmp_path)} | ({"PATH": str(tmp_path)} if named else {})
    program = [sys.executable, "-c", AT_THE_LIMIT]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    numbers = [int(number) for number in done.stdout.split()]
    assert min(numbers) > (40 if named else 20)  # one descriptor for each array, or two
    assert max(numbers) < 66
    assert not list(tmp_path.iterdir())


SIGCHLD_IGNORED = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from miaudit import files
descriptor, path = files.open_temporary("miaudit-records-")
print(path.startswith("/proc/"))
files.close_temporary(descriptor, path)
"""


@pytest.mark.parametrize("readable", [True, False])
def test_whether_others_can_read_a_file_is_told_by_what_they_read(tmp_path, readable):
    """Exit codes are lost where the program ignores SIGCHLD."""
    if not readable:  # a process that cannot open the file, as where /proc hides it
        (tmp_path / "cat").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "cat").chmod(0o700)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-c", SIGCHLD_IGNORED],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(readable and Path("/proc").is_dir())


HOLDS = """
import sys, time
import numpy as np
from miaudit.data import mapped
X = mapped.written([np.arange(100.0)], 100, np.empty(0))
columns = mapped.NumbersOnDisk(2, 100)
columns.write(0, 0, X)
print(*mapped.Place.of(X).path.split(), flush=True)
time.sleep(60)
"""


def test_a_killed_program_leaves_no_records(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDS], env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    path = program.stdout.readline().strip()
    there = np.memmap(path, dtype=float, mode="r")  # as another process of the same user maps it
    np.testing.assert_array_equal(there, np.arange(100.0))
    assert not list(tmp_path.iterdir())
    program.kill()
    program.communicate()
    assert not list(tmp_path.iterdir())
    assert not Path(path).exists()


def test_the_disk_has_given_a_file_all_its_bytes_before_it_is_mapped(folder, monkeypatch):
    for allocate in (True, False):
        if not allocate:  # as where the file system, or the operating system, cannot
            monkeypatch.delattr("os.posix_fallocate", raising=False)
        columns = mapped.NumbersOnDisk(3, 50_000)
        ((allocated, size),) = open_files(folder)
        assert allocated >= size == 3 * 8 * 50_000
        assert [path.stat().st_size for path in folder.iterdir()] == [size] * (os.environ["PATH"] == str(folder))
        columns.write(1, 0, np.arange(50_000, dtype=np.float32))
        assert columns.column(1).sum() == np.arange(50_000, dtype=np.float32).sum()
        del columns
        assert not open_files(folder)
        assert not list(folder.iterdir())


def test_a_full_disk_is_told_with_what_to_do(full_disk, monkeypatch):
    for allocate in (True, False):
        if not allocate:
            monkeypatch.delattr("os.posix_fallocate", raising=False)
        for make in (lambda: mapped.NumbersOnDisk(3, 1000), lambda: mapped.written([np.ones(3000)], 3000, np.empty(0))):
            with pytest.raises(DataError, match=rf"into {full_disk} \(.+\); .* set TMPDIR .* with 0\.00 GiB free"):
                make()
        assert not list(full_disk.iterdir())


def test_another_process_is_sent_the_place_and_not_the_records(file):
    X = np.load(file, mmap_mode="r")
    dataset = Dataset.load(file, label="y.npy")
    content = pickle.dumps(dataset)
    assert is_mapped(dataset.X)
    assert len(content) < 400 * 6 * 4
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.X, X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset.take(np.arange(9)))).X, X[:9])
    np.testing.assert_array_equal(Place.of(X[7:9]).read(), X[7:9])


def test_what_is_not_finite_is_named_wherever_it_lies(file, small):
    X = np.load(file, mmap_mode="c")
    X[377, 2] = np.inf
    with pytest.raises(DataError, match=r"record 377 .*column 2"):
        check_finite(X)


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_mapped_file_gives_the_figures_of_the_array(file, small, jobs):
    np.savez(file.parent / "all.npz", X=np.load(file), y=np.load(file.parent / "y.npy"))
    plan = {
        "split": {"members": 80},
        "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"},
        "shadows": {"count": 2},
    }
    options = {"attacks": ["rmia"], **plan}
    one = miaudit.audit({"data": {"path": str(file), "label": "y.npy"}, **options}, jobs=jobs)
    other = miaudit.audit({"data": {"path": str(file.parent / "all.npz")}, **options}, jobs=0)
    assert [a.auc for a in one.attacks] == [a.auc for a in other.attacks]
    assert one.controls == other.controls


class Group:
    """A recipe that trains several at once, and notes what it was handed."""

    name = "group"

    def __init__(self):
        self.shapes = []

    def describe(self):
        return {"recipe": self.name}

    def group_width(self, shape, classes):
        return 2

    def fit_many(self, X, y, *, indices, classes, seeds):
        self.shapes.append((len(X), len(np.unique(np.concatenate(indices)))))
        return [GaussianNB().fit(X[index], y[index]) for index in indices]

    def fit(self, X, y, *, classes, seed):
        return self.fit_many(X, y, indices=[np.arange(len(y))], classes=classes, seeds=[seed])[0]


def test_a_group_is_handed_the_records_it_trains_on_and_not_the_file(file, small):
    X, y = np.load(file, mmap_mode="r"), np.load(file.parent / "y.npy")
    names, cuts = ("members", "nonmembers", "population"), (slice(0, 40), slice(40, 80), slice(80, 400))
    results = []
    for records, recipe in ((X, group := Group()), (np.asarray(X), Group())):
        sides = {name: (records[cut], y[cut]) for name, cut in zip(names, cuts, strict=True)}
        model = GaussianNB().fit(*sides["members"])
        results.append(miaudit.audit(model, **sides, recipe=recipe, shadows=2, attacks=["rmia"], jobs=0))
    assert group.shapes
    assert all(handed == needed < 400 for handed, needed in group.shapes)
    assert [a.auc for a in results[0].attacks] == [a.auc for a in results[1].attacks]


def test_a_network_of_mapped_records_is_that_of_the_array(file, small):
    pytest.importorskip("torch")
    X, y = np.load(file, mmap_mode="r"), np.load(file.parent / "y.npy")
    recipe, indices = Network(hidden=(4,), epochs=2, standardize=True), [np.arange(9, 60), np.arange(200, 251)]
    jobs = [Job(f"{i}", f"{i}", index, np.arange(400), seed=i) for i, index in enumerate(indices)]
    sides = [from_arrays(records, y) for records in (X, np.asarray(X))]
    assert is_mapped(sides[0].X)
    models = [_fitted(jobs, dataset, recipe) for dataset in sides]
    for mine, theirs in zip(*models, strict=True):
        np.testing.assert_array_equal(mine.predict_proba(np.asarray(X)), theirs.predict_proba(np.asarray(X)))


def test_sides_of_python_may_be_parts_of_a_file(file):
    X, y = np.load(file, mmap_mode="r"), np.load(file.parent / "y.npy")
    sides = {
        name: (X[a:b], y[a:b]) for name, a, b in (("members", 0, 90), ("nonmembers", 90, 180), ("population", 180, 400))
    }
    result = miaudit.audit(GaussianNB().fit(*sides["members"]), **sides, shadows=2, attacks=["rmia"], jobs=0)
    assert result.shadows.trained == 2


def test_labels_of_an_npy_lie_beside_it(file):
    for label in (None, "y"):
        with pytest.raises(DataError, match=r'label = "y\.npy"'):
            load(file, label=label)
    with pytest.raises(DataError, match="cannot be read"):
        load(file, label="z.npy")
    np.save(file.parent / "short.npy", np.zeros(3, int))
    with pytest.raises(DataError, match="y one of shape"):
        load(file, label="short.npy")


def one_column_at_a_time(blocks, spreads):
    """What band_hashes is to return, computed column by column."""
    widths = [block.shape[1] for block in blocks]
    band = partial._dealt(sum(widths))
    hashes = np.zeros((len(blocks[0]), int(band.max()) + 1), np.uint64)
    columns = [(block[:, i : i + 1], i + sum(widths[:k])) for k, block in enumerate(blocks) for i in range(widths[k])]
    for values, column in columns:
        spread = spreads[column : column + 1] if column < len(spreads) else np.zeros(1)
        bits = partial._bits(np.ascontiguousarray(values), spread)
        hashes[:, band[column]] += partial._mixed(bits + partial._salt(np.array([column])))[:, 0]
    return hashes


def test_bands_are_hashed_by_blocks_of_rows_as_by_columns(monkeypatch):
    monkeypatch.setattr(partial, "_ELEMENTS", 200)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(133, 30)).astype(np.float32)
    table[:, ::4] = np.rint(table[:, ::4])
    table[5, 3], table[6, 8] = np.nan, -0.0
    blocks = [table, rng.integers(0, 5, (133, 1)), np.array([b"a", b"b", b"c"] * 45, "S16")[:133, None]]
    spreads = np.where(np.arange(30) % 4 == 0, 0.0, table[:4].std(axis=0))
    hashes = partial.band_hashes(blocks, spreads)
    np.testing.assert_array_equal(hashes, one_column_at_a_time(blocks, spreads))
    assert partial.band_hashes([table[:, :3]], spreads[:3]) is None


def test_copies_of_mapped_records_are_those_of_the_array_and_take_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "_BYTES", 1 << 20)
    monkeypatch.setattr(copies, "_COLUMNS", 16)
    monkeypatch.setattr(mapped, "BLOCK", 1 << 20)
    rng = np.random.default_rng(0)
    X = rng.random((1500, 1024)).astype(np.float32)
    X[:, ::3] = np.rint(9 * X[:, ::3])  # columns of whole numbers beside others
    X[1000:1040] = X[:40]
    X[1040:1080] = X[40:80] + rng.normal(0, 1e-3, (40, 1024)).astype(np.float32) * (np.arange(1024) % 3 > 0)
    np.save(tmp_path / "X.npy", X)
    sides = np.repeat([0, 1], [1000, 500])
    there = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = copies.copies_across(X, sides)
    tracemalloc.start()
    numbers = copies.copies_across(there, sides)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for mine, theirs in zip(numbers, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (numbers[0][1000:1040] == numbers[0][:40]).all()
    assert (numbers[1][1040:1080] == numbers[1][40:80]).all()
    assert peak < 0.8 * X.nbytes, f"{peak / X.nbytes:.2f} times the file"


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    paths = []
    for name, n in (("one", 900), ("two", 500)):
        gaps = [None if i > n - 5 else i for i in range(n)]  # whole numbers, and in the last rows none
        table = {f"x{i}": pa.array(rng.normal(size=n).astype(np.float32)) for i in range(20)}
        table |= {"bit": pa.array(rng.random(n) > 0.5), "gaps": pa.array(gaps, pa.int32())}
        table |= {"who": pa.array(rng.integers(0, 9, n)), "y": pa.array(rng.choice(["no", "yes"], n))}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet", row_group_size=128)
        paths.append(tmp_path / f"{name}.parquet")
    return paths


def test_large_tables_of_numbers_are_read_into_a_file_with_the_same_content(parquet, monkeypatch):
    options = {"label": "y", "group": "who"}
    there = [load(parquet[0], **options), load_parts(parquet, **options)[0]]
    for module in (of_parquet, tables):
        monkeypatch.setattr(module, "HELD", 1000)
        monkeypatch.setattr(module, "BLOCK", 4096)
    read = [load(parquet[0], **options), load_parts(parquet, **options)[0]]
    for mine, theirs in zip(read, there, strict=True):
        assert is_mapped(mine.X)
        assert not is_mapped(theirs.X)
        np.testing.assert_array_equal(mine.X, theirs.X)
        assert (mine.y == theirs.y).all()
        assert (mine.groups == theirs.groups).all()
        assert (mine.schema, mine.notes, mine.hash) == (theirs.schema, theirs.notes, theirs.hash)


def test_a_large_table_with_texts_among_its_features_is_read_into_a_file_too(parquet, monkeypatch):
    there = load(parquet[0], label="bit")
    for module in (of_parquet, tables):
        monkeypatch.setattr(module, "HELD", 1000)
    read = load(parquet[0], label="bit")
    assert is_mapped(read.X)
    np.testing.assert_array_equal(read.X, there.X)
    assert (read.schema, read.notes, read.hash) == (there.schema, there.notes, there.hash)


def test_the_schema_of_a_matrix_is_that_of_its_columns(monkeypatch):
    monkeypatch.setattr(mapped, "BLOCK", 64)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5))
    X[:, 1], X[:, 2], X[:, 3] = rng.integers(0, 2, 50), np.nan, rng.integers(0, 9, 50)
    X[3, 0] = X[4, 1] = np.nan
    for records in (X, X[:, [1, 3]][9:].astype(np.uint8), X > 0):
        columns = [infer_column(f"x{i}", records[:, i]) for i in range(records.shape[1])]
        assert [*Schema.infer(records).columns] == columns
