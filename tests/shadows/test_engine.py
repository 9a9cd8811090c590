from __future__ import annotations

import errno
import importlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from breaking import CountsFits, FailsSometimes, HoldsTheLock, KillsItsWorkerAlways, KillsItsWorkerOnce, points
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

from miaudit import files
from miaudit.data import from_arrays
from miaudit.errors import PlanError, PoolError, StoreError
from miaudit.recipes import CommandRecipe, TrainingRecipe, as_recipe
from miaudit.shadows import training
from miaudit.shadows.crew import death
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.engine import in_groups
from miaudit.shadows.pool import ShadowPool
from miaudit.shadows.processes import Trainers, _work
from miaudit.store import Store

DATA = from_arrays(*points())


def pool(folder: Path, estimator, *, shadows: int = 4, seed: int = 0, dataset=DATA, train: int = 60) -> ShadowPool:
    draws = draw_disjoint(np.arange(100, 300), shadows=shadows, train=train, test=60, seed=seed)
    return ShadowPool(dataset, as_recipe(estimator), draws, Store(folder), seed)


def outputs(pool: ShadowPool, **options) -> np.ndarray:
    """Run the pool and return the outputs of its shadows."""
    return pool.outputs(pool.run(**options))


def fits(ledger: Path) -> int:
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator", [RandomForestClassifier(10), pytest.param(MLPClassifier((16,), max_iter=15), marks=pytest.mark.slow)]
)
def test_rows_are_bit_equal_whatever_the_number_of_processes_and_shadows(tmp_path, estimator):
    here = outputs(pool(tmp_path / "a", estimator), workers=0, minimum=4)
    there = outputs(pool(tmp_path / "b", estimator), workers=2, minimum=4)
    more = outputs(pool(tmp_path / "c", estimator, shadows=6), workers=1, minimum=4)
    np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(here, more[:4])


def test_networks_are_trained_in_groups_and_come_out_as_they_would_alone(tmp_path):
    pytest.importorskip("torch")
    from miaudit.recipes import Network

    recipe = Network(hidden=(16,), epochs=8, batch=20)
    rows, widths = [], []
    for name, workers, shadows in (("a", 0, 7), ("b", 2, 7), ("c", 0, 3)):
        shadow_pool = pool(tmp_path / name, recipe, shadows=shadows)
        widths.append([len(group) for group in in_groups(shadow_pool.plan, DATA, recipe, max(workers, 1))])
        rows.append(outputs(shadow_pool, workers=workers, minimum=3))
    assert widths == [[7], [4, 3], [3]]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    np.testing.assert_allclose(rows[0][:3], rows[2], atol=1e-6)
    again = outputs(pool(tmp_path / "d", recipe, shadows=7), workers=0, minimum=7)
    np.testing.assert_array_equal(rows[0], again)


def test_models_asked_a_few_records_at_a_time_answer_as_at_once(tmp_path, monkeypatch):
    at_once = outputs(pool(tmp_path / "a", RandomForestClassifier(5)), workers=0, minimum=4)
    monkeypatch.setattr(training, "TOGETHER", 7)
    shadows = pool(tmp_path / "b", RandomForestClassifier(5))
    facts = shadows.run(workers=0, minimum=4)
    np.testing.assert_array_equal(shadows.outputs(facts), at_once)
    correct = at_once[0].argmax(1) == DATA.y[shadows.plan[0].asked]
    trained = np.isin(shadows.plan[0].asked, shadows.plan[0].train)
    assert facts[0]["train_accuracy"] == correct[trained].mean()
    assert facts[0]["test_accuracy"] == correct[~trained].mean()


def test_a_worker_loads_no_more_than_training_needs():
    code = (
        "import sys, miaudit.shadows.engine\n"
        "loaded = {'sklearn', 'pandas', 'scipy.stats', 'miaudit.attacks'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rows_say_how_their_model_did(tmp_path):
    forests = pool(tmp_path, RandomForestClassifier(10))
    for i in forests.run(workers=0, minimum=4):
        row = forests.store.get(forests.plan[i].key)
        assert row is not None
        assert row.facts["name"] == f"shadow {i}"
        assert row.facts["train_accuracy"] > 0.85
        assert 0.3 < row.facts["test_accuracy"] < 0.95
        assert row.arrays["outputs"].shape == (120, 3)
        assert row.arrays["outputs"].dtype == np.float32


def test_only_what_is_missing_is_trained(tmp_path):
    ledger = tmp_path / "ledger"
    trees = CountsFits(str(ledger))
    first = outputs(pool(tmp_path / "s", trees), workers=0, minimum=4)
    assert fits(ledger) == 4
    seen = []
    again = outputs(pool(tmp_path / "s", trees, shadows=5), workers=0, minimum=5, tell=seen.append)
    assert fits(ledger) == 5
    assert (seen[0].found, seen[-1].done) == (4, 1)
    np.testing.assert_array_equal(first, again[:4])


def test_a_damaged_row_is_trained_again_and_said_to_be(tmp_path):
    ledger = tmp_path / "ledger"
    shadows = pool(tmp_path / "s", CountsFits(str(ledger)))
    before = outputs(shadows, workers=0, minimum=4)
    path = shadows.store.path(shadows.plan[2].key)
    path.write_bytes(path.read_bytes()[:-7])
    after = outputs(shadows, workers=0, minimum=4)
    assert fits(ledger) == 5
    np.testing.assert_array_equal(before, after)
    assert "damaged row set aside" in (tmp_path / "s" / "journal.jsonl").read_text()


def test_each_stored_row_is_read_once_and_one_that_appears_meanwhile_is_not_taken_for_stored(tmp_path, monkeypatch):
    ledger = tmp_path / "ledger"
    pool(tmp_path / "s", CountsFits(str(ledger))).run(workers=0, minimum=4)
    shadows, open_ = pool(tmp_path / "s", CountsFits(str(ledger)), shadows=5), Path.open
    hidden, reads = shadows.store.path(shadows.plan[1].key), []
    content = hidden.read_bytes()

    def opened(path, *arguments, **options):
        if path.suffix == ".safetensors":
            reads.append(path.stem)
        return open_(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    four = pool(tmp_path / "s", CountsFits(str(ledger)))
    assert four.run(workers=0, minimum=4).keys() == {0, 1, 2, 3}
    assert sorted(reads) == sorted(job.key for job in four.plan)
    hidden.unlink()

    def tell(progress):
        hidden.write_bytes(content)  # by another host, after this one has looked

    assert shadows.run(workers=0, minimum=5, tell=tell).keys() == {0, 1, 2, 3, 4}
    assert [job.name for job in shadows.stored] == ["shadow 0", "shadow 2", "shadow 3"]
    assert fits(ledger) == 6


def test_other_data_recipes_seeds_or_draws_never_share_a_row(tmp_path):
    X, y = points()
    changed = X.copy()
    changed[150, 0] += 1e-9
    relabelled = y.copy()
    relabelled[150] = (relabelled[150] + 1) % 3
    pools = [
        pool(tmp_path, CountsFits("x")),
        pool(tmp_path, CountsFits("x", max_depth=3)),
        pool(tmp_path, CountsFits("x"), seed=1),
        pool(tmp_path, CountsFits("x"), train=50),
        pool(tmp_path, CountsFits("x"), dataset=from_arrays(X.astype(np.float32), y)),
    ]
    keys = [{job.key for job in p.plan} for p in pools]
    assert len(set.union(*keys)) == sum(map(len, keys))
    original = {job.name: job for job in pools[0].plan}
    for dataset in (from_arrays(changed, y), from_arrays(X, relabelled)):
        for job in pool(tmp_path, CountsFits("x"), dataset=dataset).plan:
            touched = 150 in original[job.name].asked
            assert (job.key != original[job.name].key) == touched
    assert any(150 in job.asked for job in original.values())


def test_the_same_shadows_are_shared_by_two_audits_of_one_folder(tmp_path):
    ledger = tmp_path / "ledger"
    for _ in range(2):
        pool(tmp_path / "s", CountsFits(str(ledger))).run(workers=0, minimum=4)
    assert fits(ledger) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_failures_are_kept_with_their_traceback_and_the_run_goes_on(tmp_path, workers):
    shadows = pool(tmp_path, FailsSometimes(), shadows=12)
    rows = shadows.run(workers=workers, minimum=2)
    assert len(rows) + len(shadows.failures) == 12
    assert 2 <= len(rows) < 12
    for failure in shadows.failures:
        assert failure.error == "ValueError: this one does not converge"
        assert "in fit" in failure.traceback
    assert "this one does not converge" in (tmp_path / "journal.jsonl").read_text()


def test_too_few_shadows_end_the_run_with_exit_code_4(tmp_path):
    shadows = pool(tmp_path, FailsSometimes(), shadows=12)
    with pytest.raises(
        PoolError, match=r"of 12 shadow models could not be trained, at least 12 are needed.*converge"
    ) as e:
        shadows.run(workers=0, minimum=12)
    assert e.value.exit_code == 4
    assert f"Tracebacks are in {tmp_path / 'journal.jsonl'}; what was trained is kept in {tmp_path}" in str(e.value)
    assert "Tracebacks" not in shadows._more(replace(shadows.failures[0], traceback=""))  # of a worker that was killed
    assert len(shadows.failures) == 1, "the others are useless, and not tried"
    assert shadows.run(workers=0, minimum=2)


def test_no_shadow_is_trained_when_the_target_could_not_be(tmp_path):
    shadows = pool(tmp_path, FailsSometimes(), shadows=12)
    target = replace(shadows.plan[0], key="t" * 64, name="target", seed=2)
    with pytest.raises(PoolError, match="the target could not be trained: ValueError: this one does not converge"):
        shadows.run(workers=0, minimum=2, also=[target])
    assert not shadows.store.keys()


def test_a_killed_worker_costs_only_the_row_in_flight(tmp_path):
    scar = tmp_path / "scar"
    rows = pool(tmp_path / "s", KillsItsWorkerOnce(str(scar))).run(workers=2, minimum=4)
    assert scar.exists()
    assert len(rows) == 4
    assert (tmp_path / "s" / "journal.jsonl").read_text().count("worker died") == 1


def test_a_row_that_a_dead_worker_wrote_is_seen_by_the_listing(tmp_path, monkeypatch):
    """By NFS the answer for a single name may be of the time when the row was missing."""
    shadows = pool(tmp_path, RandomForestClassifier(3))
    one, two = shadows.plan[:2]
    shadows.store.put(one.key, {"outputs": np.zeros(3)}, {})
    crew, exists = Trainers(shadows.dataset, shadows.recipe, shadows.store), Path.exists
    worker = crew.hire()
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix != ".safetensors" and exists(path))
    assert crew.bury(worker, [one, two]) == ([[training.Trained(0.0, 0)]], [[two]])
    crew.dismiss([], finished=True)


@pytest.mark.parametrize(
    ("signal_", "how"), [(signal.SIGALRM, "killed by SIGALRM"), (signal.SIGKILL, "as when memory runs out")]
)
def test_how_a_worker_died_is_reported_though_another_thread_collects_its_exit_code(signal_, how):
    """The executor's own thread waits for the worker too, and may have its code a moment before it writes it down."""
    process = multiprocessing.get_context("spawn").Process(target=signal.pause)
    process.start()
    os.kill(process.pid, signal_)
    os.waitpid(process.pid, 0)
    writing = threading.Timer(0.1, setattr, (process._popen, "returncode", -signal_))
    writing.start()
    assert death(process) == (-signal_, how)
    writing.join()
    process._popen.returncode = None
    assert death(process) == (None, "how is not known")


@pytest.mark.parametrize("refusal", ["daemonic", "Read-only file system", "can't start new thread"])
def test_that_no_process_can_be_started_is_told_with_what_to_do(tmp_path, monkeypatch, refusal):
    def refused(*_):
        raise OSError(errno.EROFS, refusal)

    def no_thread(*_):
        raise RuntimeError(refusal)

    if refusal == "daemonic":
        monkeypatch.setitem(multiprocessing.process.current_process()._config, "daemon", True)
    elif refusal == "can't start new thread":  # in the thread of an executor, which then tells nobody
        monkeypatch.setattr(multiprocessing.queues.Queue, "_start_thread", no_thread)
    else:
        monkeypatch.setattr(multiprocessing.context.BaseContext, "Lock", refused)
    with pytest.raises(PlanError, match=f"(?s){refusal}.*--jobs 0"):
        pool(tmp_path, GaussianNB()).run(workers=2, minimum=4)


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_found_dead_by_its_next_group(tmp_path):
    shadows = pool(tmp_path, GaussianNB())
    crew = Trainers(DATA, shadows.recipe, shadows.store)
    worker = crew.hire()
    try:
        assert crew.submit(_work, [shadows.plan[0]], worker).exception() is None
        crew._processes[worker].kill()
        crew._processes[worker].join()
        deadline = time.monotonic() + 60
        while not isinstance(crew.submit(_work, [], worker).exception(), BrokenProcessPool):
            assert time.monotonic() < deadline
        news, again = crew.bury(worker, [shadows.plan[1]])
        assert (news, again) == ([], [[shadows.plan[1]]])
    finally:
        crew.dismiss([worker], finished=False)


@pytest.mark.slow
def test_a_worker_that_cannot_end_itself_is_ended(tmp_path):
    shadows = pool(tmp_path, HoldsTheLock(str(tmp_path)))
    crew = Trainers(DATA, shadows.recipe, shadows.store)
    worker = crew.hire()
    try:
        crew.submit(_work, [shadows.plan[0]], worker)
        process, deadline = crew._processes[worker].pid, time.monotonic() + 60
        while not (tmp_path / "holds").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        crew.dismiss([worker], finished=False)
    assert not _is_running(process)


OWN_CODE = """
from sklearn.tree import DecisionTreeClassifier

def train(X, y, seed):
    return DecisionTreeClassifier(max_depth=2).fit(X, y)
"""


def test_a_worker_that_finds_other_code_than_the_run_began_with_trains_nothing(tmp_path, monkeypatch):
    file = tmp_path / "own_code.py"
    file.write_text(OWN_CODE)
    monkeypatch.syspath_prepend(tmp_path)
    shadows = pool(tmp_path / "store", TrainingRecipe(importlib.import_module("own_code").train))
    crew = Trainers(DATA, shadows.recipe, shadows.store)
    workers = [crew.hire(), crew.hire()]
    try:
        assert crew.submit(_work, [shadows.plan[0]], workers[0]).exception() is None
        file.write_text(OWN_CODE.replace("max_depth=2", "max_depth=20"))
        with pytest.raises(PlanError, match=r"changed after the run began \(own_code\).*run the same command again"):
            crew.submit(_work, [shadows.plan[1]], workers[1]).result()
        assert shadows.store.keys() == {shadows.plan[0].key}
    finally:
        crew.dismiss(workers, finished=False)


def test_workers_killed_while_they_start_do_not_hang_the_run(tmp_path):
    """With records that fill a pipe many times over, kill every worker that shows up in the first seconds."""
    X, y = points(30_000)
    dataset = from_arrays(np.repeat(X, 20, axis=1), y)
    shadow_pool = pool(tmp_path, RandomForestClassifier(3), dataset=dataset)
    before, killed, stop = set(multiprocessing.active_children()), set(), threading.Event()

    def kill() -> None:
        end = math.inf
        while time.monotonic() < end and not stop.is_set():
            for child in set(multiprocessing.active_children()) - before - killed:
                end = min(end, time.monotonic() + 1.0)
                killed.add(child)
                child.kill()
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    shadow_pool.run(workers=2, minimum=0)
    stop.set()
    killer.join()
    assert killed
    assert len(shadow_pool.run(workers=2, minimum=4)) == 4


@pytest.mark.slow
def test_a_model_that_always_kills_its_worker_fails_alone(tmp_path):
    shadows = pool(tmp_path, KillsItsWorkerAlways(), shadows=5)
    rows = shadows.run(workers=2, minimum=1)
    assert 1 <= len(shadows.failures) < 5
    assert len(rows) == 5 - len(shadows.failures)
    assert "worker died 3 times" in shadows.failures[0].error


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_ends_the_run_and_keeps_the_rows(tmp_path, monkeypatch, workers):
    if workers:
        limit = f"ulimit -f 1; exec {sys.executable} -B -c"  # files of at most 1 kB: rows do not fit, nor compiled code
        code = (
            "import sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sys.path.insert(0, sys.argv[1])\n"
            "import numpy as np; from pathlib import Path; import test_engine as t\n"
            "t.pool(Path(sys.argv[2]), t.RandomForestClassifier(2), train=100).run(workers=1, minimum=4)\n"
        )
        done = subprocess.run(
            ["bash", "-c", f'{limit} "$0" "$@"', code, str(Path(__file__).parent), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "StoreError" in done.stderr
        assert not list((tmp_path / "rows").iterdir())
        return
    whole = pool(tmp_path, RandomForestClassifier(3))
    whole.run(workers=0, minimum=4)
    real = os.fsync

    def full(descriptor: int) -> None:
        if len(list((tmp_path / "rows").glob("*.safetensors"))) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        pool(tmp_path, RandomForestClassifier(3), shadows=9).run(workers=0, minimum=9)
    monkeypatch.undo()
    seen = []
    pool(tmp_path, RandomForestClassifier(3), shadows=9).run(workers=0, minimum=9, tell=seen.append)
    assert seen[0].found == 6


def test_a_script_without_a_main_guard_and_with_its_own_estimator_works(tmp_path):
    script = tmp_path / "script.py"
    body = """
import sys; sys.path.insert(0, {here!r})
import numpy as np
from pathlib import Path
from sklearn.tree import DecisionTreeClassifier
import test_engine as t
print("started")
class Own(DecisionTreeClassifier):
    pass
for estimator in (DecisionTreeClassifier(), Own()):
    rows = t.pool(Path({out!r}), estimator).run(workers=1, minimum=4)
    print(len(rows))
"""
    script.write_text(body.format(here=str(Path(__file__).parent), out=str(tmp_path / "s")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["started", "4", "4"]


def test_workers_end_when_the_program_is_killed_and_the_next_run_trains_the_rest(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import test_engine as t; from breaking import Slow\n"
        "t.pool(Path(sys.argv[2]), Slow(), shadows=40).run(workers=2, minimum=40)\n"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    program = subprocess.Popen(arguments, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "rows").glob("*.safetensors"))) < 3 if (tmp_path / "rows").exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.kill()
    program.wait()
    deadline = time.monotonic() + 10
    while _members_of_session(program.pid):
        assert time.monotonic() < deadline, "workers outlived the program"
        time.sleep(0.1)
    kept = len(list((tmp_path / "rows").glob("*.safetensors")))
    assert 3 <= kept < 40
    from breaking import Slow

    seen = []
    rows = pool(tmp_path, Slow(), shadows=kept + 2).run(workers=0, minimum=kept + 2, tell=seen.append)
    assert seen[0].found >= kept - 2  # shadows finish out of order by the number of workers at most
    assert len(rows) == kept + 2


WRITING = """
import os, sys, time, uuid
folder = os.path.dirname(sys.argv[1])
open(os.path.join(sys.argv[3], f"{os.getpid()}.pid"), "w").close()
end = time.monotonic() + 60
while True:
    try:
        os.makedirs(folder, exist_ok=True)
        open(os.path.join(folder, uuid.uuid4().hex), "w").close()
    except OSError:
        pass
    time.sleep(1e-4)
    if time.monotonic() > end:
        break
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_neither_its_command_nor_records(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    killing = f"os.kill(os.getppid(), {int(signal.SIGKILL)})\nwhile True:"
    (tmp_path / "train.py").write_text(WRITING.replace("while True:", killing))
    recipe = CommandRecipe(f"python train.py {{records}} {{answers}} {tmp_path}", folder=str(tmp_path))
    with pytest.raises(PoolError, match="died 3 times"):
        pool(tmp_path / "out", recipe, shadows=2).run(workers=2, minimum=2)
    processes = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(processes) >= 4  # three of the model that fails first, which ends the run
    assert not [process for process in processes if _is_running(process)]
    assert not list(temporary.glob("miaudit-command-*"))


def _is_running(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_records_that_were_written_for_a_command_go_with_a_program_that_ends_in_mid_training(tmp_path, end):
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "train.py").write_text(WRITING)
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import test_engine as t; from miaudit.recipes import CommandRecipe\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "recipe = CommandRecipe('python train.py {records} {answers} ' + sys.argv[3], folder=sys.argv[3])\n"
        "t.pool(Path(sys.argv[2]), recipe).run(workers=2, minimum=4)\n"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(out), str(tmp_path)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    program = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 60
    while len(list(temporary.rglob("records.npz"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(end)
    program.wait()
    deadline = time.monotonic() + 10
    while _members_of_session(program.pid):
        assert time.monotonic() < deadline, "workers outlived the program"
        time.sleep(0.1)
    assert not list(temporary.rglob("records.npz"))
    assert not list(temporary.glob("miaudit-command-*"))


JOBLIB = """
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_engine as t
from breaking import Shares
signal.signal(signal.SIGINT, signal.default_int_handler)
t.pool(Path(sys.argv[2]), Shares(sys.argv[2])).run(workers=2, minimum=4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_what_joblib_shared_in_memory_goes_with_a_program_that_ends_in_mid_training(tmp_path, end):
    arguments = [sys.executable, "-c", JOBLIB, str(Path(__file__).parent), str(tmp_path)]
    program = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers := [path.stem for path in tmp_path.glob("*.shares")]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shared = [path for path in Path("/dev/shm").iterdir() if any(worker in path.name for worker in workers)]
    assert len(shared) > 2
    program.send_signal(end)
    program.wait()
    deadline = time.monotonic() + 10
    while _members_of_session(program.pid):
        assert time.monotonic() < deadline, "workers outlived the program"
        time.sleep(0.1)
    assert not [path for path in shared if path.exists()]


def _members_of_session(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_torch_has_one_thread_in_a_worker_also_when_it_is_loaded_there_first(tmp_path):
    pytest.importorskip("torch")
    code = (
        "import sys; from miaudit.threads import one_thread\n"
        "assert 'torch' not in sys.modules\n"
        "with one_thread():\n    import torch; print(torch.get_num_threads())\n"
        "import os; print(torch.get_num_threads() == os.cpu_count(), 'OMP_NUM_THREADS' in os.environ)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "True", "False"]
