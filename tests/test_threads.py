"""How many cores there are, and which texts name devices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from miaudit import threads
from miaudit.attacks import Shokri
from miaudit.recipes import ModuleRecipe, Network, TrainingRecipe, device_name
from miaudit.testing import worlds
from miaudit.threads import in_threads, is_device, most_threads, threads_at_most, usable_cores


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 6), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("x", 6)]
)
def test_a_container_counts_by_its_quota(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores() == cores


def test_a_container_of_the_first_version_counts_by_its_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", 300000), ("period", 100000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    assert usable_cores() == 3


def test_devices():
    assert [name for name in ("cpu", "cuda", "cuda:1", "auto", "gpu", "cuda:", "cuda:1x", None) if is_device(name)] == [
        *("cpu", "cuda", "cuda:1")
    ]
    assert is_device("auto", auto=True)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["", "ends_with_us=True"])
def test_one_thread_holds_the_openmp_of_scikit_learn_also_for_estimators_that_are_imported_later(ends):
    code = (
        "import sys\n"
        "from threadpoolctl import threadpool_info\n"
        "from miaudit.threads import one_thread\n"
        f"with one_thread({ends}):\n"
        "    import sklearn.ensemble\n"
        "    pools = [pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'openmp']\n"
        "    assert pools and set(pools) == {1}, pools\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)


def train(X, y, seed):
    return None


class Theirs:
    name, device = "theirs", "cuda:1"


def test_recipes_say_that_they_take_the_gpu_and_rows_forget_which():
    assert device_name(Theirs()) == "cuda:1"  # type: ignore[arg-type]
    recipes = [TrainingRecipe(train), Network(hidden=(3,))]
    for recipe in recipes:
        one, other = recipe.placed("cuda:0", None), recipe.placed("cuda:1", None)
        assert (device_name(one), device_name(other)) == ("cuda:0", "cuda:1")
        assert one.describe() == other.describe() != recipe.describe()
    assert ModuleRecipe(train, device="cuda:1").device == "cuda:1"


def test_each_thread_has_one_thread_of_arithmetic_and_the_program_its_own_again(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)

    def widths(item):
        time.sleep(0.05)
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        return item, threading.get_ident(), blas

    with threadpool_limits(2):
        rows = in_threads(widths, range(6))
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}
    assert [item for item, _, _ in rows] == list(range(6))
    assert all(width == {1} for _, _, width in rows)
    assert len({thread for _, thread, _ in rows} - {threading.get_ident()}) == 3


@pytest.mark.parametrize("fails", [0, 1])
def test_an_error_of_one_item_is_raised_and_what_has_not_begun_is_left(monkeypatch, fails):
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    items = []

    def act(item):
        items.append(item)
        if item == fails:
            raise ValueError(f"item {item}")
        time.sleep(0.2 if item == 0 else 0.02)

    with pytest.raises(ValueError, match=f"item {fails}"):
        in_threads(act, range(50))
    assert len(items) < 25


def test_an_interruption_ends_what_has_not_begun(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    items = []

    def act(item):
        items.append(item)
        if item == 1:
            os.kill(os.getpid(), signal.SIGINT)  # which the main thread takes
        time.sleep(0.05)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where the shell has it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            in_threads(act, range(50))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(items) < 25
    assert {pool["num_threads"] for pool in threadpool_info()} != {1} or usable_cores() == 1


def test_with_one_core_no_thread_is_started_so_that_an_interrupt_waits_for_none():
    with threads_at_most(1):
        assert in_threads(lambda _: threading.current_thread(), range(2)) == [threading.current_thread()] * 2


def test_threads_compute_as_their_caller_does(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    with np.errstate(divide="ignore"):
        assert in_threads(lambda x: float(np.divide(1.0, np.float64(x))), [0.0, 0.5, 0.0]) == [np.inf, 2.0, np.inf]


def test_the_2017_attack_does_not_hang_on_the_number_of_cores(monkeypatch):
    world = worlds.gaussian(1.0, n=1000, shadows=6, overlapping=True)
    scores = []
    for cores in (1, 4):
        monkeypatch.setattr(threads, "usable_cores", lambda cores=cores: cores)
        scores.append(Shokri(epochs=1).run(world.evidence.replace(), seed=3).score)
    np.testing.assert_array_equal(*scores)


def test_fewer_threads_hold_for_the_thread_that_asks_for_it() -> None:
    before = most_threads()
    with threads_at_most(1):
        assert most_threads() == 1
        with ThreadPoolExecutor(1) as other:
            assert other.submit(most_threads).result() == before
        assert in_threads(lambda _: most_threads(), range(3)) == [1, 1, 1]
    assert most_threads() == before
