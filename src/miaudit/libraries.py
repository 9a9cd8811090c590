"""Other libraries: the optional ones, and what they keep private, each with a public way in its place; ours on first use.

No other file names a private part of a library. What is private may go with any release; then the public way is taken, which
is slower, or sees less, and never wrong.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from miaudit.errors import MiauditError, PlanError

if TYPE_CHECKING:
    from torch import Tensor

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam

Step = Callable[[list["Tensor"], Sequence["Tensor"], float], None]
"""Changes parameters in place by gradients and a learning rate."""


def on_first_use(package: str, homes: Mapping[str, str], name: str) -> Any:
    """Return what a package's ``__getattr__`` is asked for: a name from the module that has it, or a submodule.

    Parameters
    ----------
    homes
        Modules by the names that they have.

    Raises
    ------
    AttributeError
        If it is neither.
    """
    if name in homes:
        return getattr(importlib.import_module(homes[name]), name)
    if name.isidentifier() and not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
        return importlib.import_module(f"{package}.{name}")
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def require(module: str, *, extra: str, what: str, error: type[MiauditError] = PlanError) -> Any:
    """Import a module of an optional library and return it.

    Parameters
    ----------
    extra
        What brings the library: ``pip install 'miaudit[extra]'``.
    what
        What needs it, such as "a network recipe".
    error
        The error of this failure.

    Raises
    ------
    MiauditError
        Of the class ``error``, if the library is not there or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        require_installed(module, extra=extra, what=what, error=error)
        raise error(f"{what} needs {module}, and it cannot be imported here: {cause}") from cause


def require_installed(module: str, *, extra: str, what: str, error: type[MiauditError] = PlanError) -> None:
    """Raise as `require` does if a library is not installed; it is not imported."""
    library = module.partition(".")[0]
    if find_spec(library) is None:
        raise error(f"{what} needs {library}, which is not installed. Run: pip install 'miaudit[{extra}]'")


def require_torch(what: str = "a network recipe") -> str:
    """Return the version of torch, which is not imported, or raise a PlanError if it is missing."""
    require_installed("torch", extra="torch", what=what)
    return _version("torch")


@functools.cache
def _version(library: str) -> str:
    """Return a library's version, read from its metadata once: that takes longer than a small network's answer."""
    return version(library)


def adam(thetas: Sequence[Tensor], *, weight_decay: float, decoupled: bool) -> Step:
    """Return the update of Adam with the usual constants (0.9, 0.999, 1e-8); of AdamW if ``decoupled``.

    The kernels under ``torch.optim.Adam(fused=True)`` take 1 / 2.4 of the time of the same in public operations. That class
    itself imports torch's compiler, more than a second in every process.
    """
    import torch

    moments = [[torch.zeros_like(theta) for theta in thetas] for _ in range(2)]
    count = torch.zeros((), device=thetas[0].device)
    kernel: Any = getattr(torch, "_fused_adamw_" if decoupled else "_fused_adam_", None)

    def fused(parameters: list[Tensor], gradients: Sequence[Tensor], rate: float) -> None:
        count.add_(1)
        kernel(
            parameters, gradients, *moments, [], [count] * len(parameters), lr=rate, beta1=_BETAS[0], beta2=_BETAS[1],
            weight_decay=weight_decay, eps=_EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    def plain(parameters: list[Tensor], gradients: Sequence[Tensor], rate: float) -> None:
        count.add_(1)
        corrections = [1 - beta ** float(count) for beta in _BETAS]
        for theta, gradient, mean, square in zip(parameters, gradients, *moments, strict=True):
            if decoupled:
                theta.mul_(1 - rate * weight_decay)
            elif weight_decay:
                gradient.add_(theta, alpha=weight_decay)
            mean.lerp_(gradient, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            scale = square.sqrt().div_(math.sqrt(corrections[1])).add_(_EPSILON)
            theta.addcdiv_(mean, scale, value=-rate / corrections[0])

    return plain if kernel is None else fused


def hooked(part: Any) -> bool:
    """Return whether a hook is on a torch module or parameter, or an attribute of its own covers one of its class.

    True also where this torch does not say which hooks there are.
    """
    if hasattr(part, "requires_grad_") and not hasattr(part, "modules"):
        missing = object()
        hooks = [getattr(part, name, missing) for name in ("_backward_hooks", "_post_accumulate_grad_hooks")]
        return any(each is missing or bool(each) for each in hooks)
    own = vars(part)
    hooks = [value for name, value in own.items() if name.endswith("_hooks")]
    return not hooks or any(hooks) or any(hasattr(type(part), name) for name in own)


def add_transposed_product(target: Any, rows: Any, start: int, stop: int, delta: Any) -> None:
    """Add ``rows[start:stop].T @ delta`` to ``target``, in place.

    The routine behind scipy's own product adds to its last argument, and so touches few rows of ``target``; the public product
    fills a new matrix.

    Parameters
    ----------
    target
        (d, width) contiguous float32 array.
    rows
        CSR array (n, d), float32.
    delta
        (stop - start, width) contiguous float32 array.
    """
    try:
        from scipy.sparse import _sparsetools

        product = _sparsetools.csc_matvecs
    except (ImportError, AttributeError):
        target += rows[start:stop].T @ delta
        return
    product(  # rows in CSR are columns of the transpose in CSC
        rows.shape[1],
        stop - start,
        delta.shape[1],
        rows.indptr[start : stop + 1],
        rows.indices,
        rows.data,
        delta.reshape(-1),
        target.reshape(-1),
    )


def pool_threads() -> set[threading.Thread]:
    """Return the threads of executors of ``concurrent.futures``, and of joblib, which may idle; told by names if need be."""
    from concurrent.futures import thread

    running = threading.enumerate()
    of_processes = {each for each in running if type(each).__name__ == "_ExecutorManagerThread"}
    of_threads = getattr(thread, "_threads_queues", None)
    if of_threads is None:
        of_threads = {each for each in running if each.name.startswith("ThreadPoolExecutor")}
    return of_processes | set(of_threads)


def network_pools(client: Any) -> list[Any]:
    """Return the pools of connections of an httpx2.Client, whose ``_network_backend`` may be replaced; none if not found."""
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    pools = [getattr(transport, "_pool", None) for transport in transports]
    return [pool for pool in pools if hasattr(pool, "_network_backend")]


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed; another C library does as it does.

    glibc hands them back to the system at once, and convolutions ask for them again at every step: kept, small convolutional
    networks train up to a third faster.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD


def flush_c_streams() -> None:
    """Write out what C code has printed and the C library still holds, where it can be reached."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
