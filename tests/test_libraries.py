"""What libraries keep private, and the public ways in its place: both do the same."""

import concurrent.futures
import concurrent.futures.thread
import sys
import threading

import numpy as np
import pytest
import scipy.sparse

from miaudit import libraries
from miaudit.errors import DataError, PlanError
from miaudit.libraries import add_transposed_product, hooked, network_pools, pool_threads, require, require_installed


def test_a_missing_library_is_named_with_what_brings_it():
    with pytest.raises(
        DataError, match=r"the file x needs nowhere, which is not installed. Run: pip install 'miaudit\[y\]'"
    ):
        require("nowhere.inner", extra="y", what="the file x", error=DataError)
    with pytest.raises(PlanError, match="needs nowhere, which is not installed"):
        require_installed("nowhere", extra="y", what="the file x")
    assert require("numpy", extra="y", what="the file x") is np


def test_a_library_that_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("raise ImportError('no such symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlanError, match="needs half_installed, and it cannot be imported here: no such symbol"):
        require("half_installed", extra="y", what="the file x")


@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_a_transposed_product_is_added_with_and_without_the_private_routine(private, monkeypatch):
    if not private:
        monkeypatch.delattr(scipy.sparse, "_sparsetools")
        monkeypatch.setitem(sys.modules, "scipy.sparse._sparsetools", None)
    rng = np.random.default_rng(0)
    rows = scipy.sparse.csr_array((rng.random((40, 30)) * (rng.random((40, 30)) < 0.1)).astype(np.float32))
    delta, target = (rng.normal(size=shape).astype(np.float32) for shape in ((15, 7), (30, 7)))
    expected = target + rows.toarray()[5:20].T @ delta
    add_transposed_product(target, rows, 5, 20, delta)
    np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_adam_is_that_of_torch_with_and_without_the_private_kernel(private, name, decay, monkeypatch):
    torch = pytest.importorskip("torch")
    from miaudit.libraries import adam

    if not private:
        monkeypatch.delattr(torch, f"_fused_{name.lower()}_")
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(size, generator=generator) for size in (5, 3)]
    theirs = [theta.clone().requires_grad_() for theta in start]
    optimizer = getattr(torch.optim, name)(theirs, lr=0.05, weight_decay=decay)
    step = adam(start, weight_decay=decay, decoupled=name == "AdamW")
    for _ in range(20):
        gradients = [torch.randn(theta.shape, generator=generator) for theta in start]
        for theta, gradient in zip(theirs, gradients, strict=True):
            theta.grad = gradient.clone()
        optimizer.step()
        step(start, gradients, 0.05)
    for ours, their in zip(start, theirs, strict=True):
        torch.testing.assert_close(ours, their.detach(), rtol=1e-4, atol=1e-6)


def test_hooks_are_seen_and_what_cannot_say_counts_as_hooked():
    torch = pytest.importorskip("torch")
    module, parameter = torch.nn.Linear(2, 2), torch.nn.Parameter(torch.zeros(2))
    assert not hooked(module)
    assert not hooked(parameter)
    parameter.register_post_accumulate_grad_hook(lambda _: None)
    module.register_forward_hook(lambda *_: None)
    assert hooked(module)
    assert hooked(parameter)

    class Later:
        def requires_grad_(self): ...

    assert hooked(Later())
    assert hooked(Later)


@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_threads_of_executors_are_told_from_others(private, monkeypatch):
    release = threading.Event()
    other = threading.Thread(target=release.wait, daemon=True)
    other.start()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(release.wait)
        with monkeypatch.context() as patch:
            if not private:
                patch.delattr(concurrent.futures.thread, "_threads_queues")
            threads = pool_threads()
        release.set()
        waiting.result()
    assert any(each.name.startswith("ThreadPoolExecutor") for each in threads)
    assert other not in threads


def test_pools_of_a_client_are_found_and_none_is_needed():
    import httpx2

    with httpx2.Client() as client:
        assert network_pools(client)
    assert network_pools(object()) == []


def test_metadata_of_torch_is_read_once_as_every_answer_of_a_network_asks_for_it(monkeypatch):
    before = libraries.require_torch()
    monkeypatch.setattr(libraries, "version", lambda library: pytest.fail("read again"))
    assert libraries.require_torch() == before
