"""Products of float32 on a GPU are taken in float32: TF32 is off while a network trains or answers, and then as it was.

Torch takes convolutions of float32 in TF32 unless it is told otherwise, and products too where code of others asks for it: a
factor then has 10 bits of its fraction where float32 has 23. The switches belong to the process, not to a network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ON_GPU = {"device": "cuda", "tf32": False}
"""What a recipe that trains on a GPU says of that, whichever GPU it is."""

_lock = threading.Lock()
_inside = 0
_restore: list[Callable[[], None]] = []


@contextmanager
def exact_products(device: Any) -> Iterator[None]:
    """Take products and convolutions of float32 in float32 for as long as the block lasts; nothing to do on a processor.

    Blocks may overlap, in one thread or in several: the first one switches TF32 off, and the last one puts back what was there.

    Parameters
    ----------
    device
        Where the products are taken, by its name or as torch has it.
    """
    global _inside
    if str(device) == "cpu":
        yield
        return
    with _lock:
        if not _inside:
            _restore[:] = _switched_off()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for act in _restore:
                    act()


def _switched_off() -> list[Callable[[], None]]:
    """Switch TF32 off; return what puts everything back.

    Torch has two kinds of switches, and from 2.9 on refuses to read the older ones where the two disagree, as other code may do
    in the block: so both are set. Where they disagree already, which no code can have read, the older ones stay as they are.
    """
    import torch

    backends, restore = torch.backends, list[Callable[[], None]]()
    newer = []
    if hasattr(backends.cudnn, "conv"):  # torch 2.9
        newer = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
    states = [(switch, switch.fp32_precision) for switch in (*newer, *([backends.mkldnn.matmul] if newer else []))]
    try:
        convolutions, products = backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except (AttributeError, RuntimeError):  # of a torch without the older ones, or where the two kinds disagree
        pass
    else:
        backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        restore += [
            lambda: setattr(backends.cudnn, "allow_tf32", convolutions),
            lambda: torch.set_float32_matmul_precision(products),
        ]
    for switch in newer:
        switch.fp32_precision = "ieee"
    return [*restore, *(_setter(*state) for state in states)]  # the newer last, as the older ones set them too


def _setter(switch: Any, value: str) -> Callable[[], None]:
    return lambda: setattr(switch, "fp32_precision", value)
