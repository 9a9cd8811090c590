"""Batches of sparse records in front of a fully connected layer: only what is not zero is read. Needs torch.

The first layer of a network on sparse records needs ``x @ W`` on the way forward and ``W - rate * x.T @ delta`` on the
way back. Both touch only the rows of W whose features occur in the batch. Standardised records are not sparse, but
``(x - mean) / scale`` is a sparse matrix less one vector, ``centre``, which is taken off in the products instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from miaudit.libraries import add_transposed_product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaudit.recipes.training import Statistics


class SparseRows:
    """Records (n, d) held as CSR, standardised or not, in the order given; batches are ranges of them.

    Parameters
    ----------
    rows
        CSR, float32.
    centre
        What to take from every record, (d,) float32; None for nothing.
    """

    def __init__(self, rows: Any, centre: torch.Tensor | None = None) -> None:
        self._rows, self._centre = rows, centre
        self._starts = torch.from_numpy(rows.indptr)
        self._columns = torch.from_numpy(rows.indices)
        self._values = torch.from_numpy(rows.data)

    @classmethod
    def standardised(cls, rows: Any, statistics: Statistics | None) -> SparseRows:
        """``(rows - mean) / scale``; the rows as they are without statistics."""
        if statistics is None:
            return cls(rows)
        mean, scale = statistics
        values = (rows.data / scale[rows.indices]).astype(np.float32)
        scaled = csr_array((values, rows.indices, rows.indptr), shape=rows.shape)
        return cls(scaled, torch.from_numpy((mean / scale).astype(np.float32)))

    def reordered(self, order: NDArray[np.int64]) -> SparseRows:
        """Those at ``order``, copied so that batches are contiguous."""
        return SparseRows(self._rows[order], self._centre)

    def times(self, weight: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """``x @ weight`` for records start to stop and a weight (d, width): (stop - start, width)."""
        starts = self._starts[start : stop + 1]
        first, last = int(starts[0]), int(starts[-1])
        if first == last:  # nothing but zeros, which embedding_bag will not take
            product = weight.new_zeros(stop - start, weight.shape[1])
        else:
            product = functional.embedding_bag(
                self._columns[first:last],
                weight,
                starts - first,
                mode="sum",
                per_sample_weights=self._values[first:last],
                include_last_offset=True,
            )
        return product if self._centre is None else product.sub_(self._centre @ weight)

    def add_transposed(self, target: torch.Tensor, delta: torch.Tensor, start: int, stop: int) -> None:
        """Add ``x.T @ delta`` for records start to stop to ``target`` (d, width), reading and writing few of its rows.

        ``target`` and ``delta`` (stop - start, width) are contiguous float32.
        """
        add_transposed_product(target.numpy(), self._rows, start, stop, delta.numpy())
        if self._centre is not None:
            target.addr_(self._centre, delta.sum(0), alpha=-1)
