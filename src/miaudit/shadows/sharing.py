"""Records for workers in one file that all of them map, so that no worker has a copy of its own."""

from __future__ import annotations

import mmap
import os
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from miaudit.files import close_temporary, open_temporary

LEAST = 1 << 20
"""Arrays of fewer bytes are sent with all else."""

_ALIGNMENT = 64


class Parcel(NamedTuple):
    """What is sent to a worker: a pickle, and where in a file its large arrays lie."""

    content: bytes
    path: str | None
    places: tuple[tuple[int, int], ...]  # the first byte, and how many

    def open(self) -> Any:
        """Return what was sent. Large arrays are mapped: a page is shared until it is written to."""
        if self.path is None:
            return pickle.loads(self.content)
        with Path(self.path).open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return pickle.loads(self.content, buffers=[content[at : at + size] for at, size in self.places])


class Shared:
    """What many workers are sent: pickled once, by the first of the threads that want it.

    The file of its large arrays goes with `close`, or when this does. On Linux it has no name, and goes with the program
    however that ends; elsewhere one that is killed leaves it. Only the user can read it. Where none can be written, each
    worker gets a copy.
    """

    def __init__(self, thing: Any) -> None:
        self._thing, self._lock = thing, threading.Lock()
        self._parcel: Parcel | None = None
        self._remove: Any = None

    @property
    def parcel(self) -> Parcel:
        """What to send."""
        with self._lock:
            if self._parcel is None:
                try:
                    self._parcel = self._apart()
                except OSError:
                    self._parcel = Parcel(pickle.dumps(self._thing, protocol=5), None, ())
            return self._parcel

    def _apart(self) -> Parcel:
        """Pickle, with large arrays in a file."""
        arrays: list[memoryview] = []

        def together(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes >= LEAST:
                arrays.append(raw)
            return raw.nbytes < LEAST

        content = pickle.dumps(self._thing, protocol=5, buffer_callback=together)
        if not arrays:
            return Parcel(content, None, ())
        descriptor, path = open_temporary("miaudit-shared-")
        self._remove = weakref.finalize(self, close_temporary, descriptor, path)
        places = []
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                for array in arrays:
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    places.append((file.tell(), array.nbytes))
                    file.write(array)
        except OSError:  # what was written would fill the disk for as long as models train
            self._remove()
            raise
        return Parcel(content, path, tuple(places))

    def close(self) -> None:
        """Remove the file; workers that have opened it keep what they have."""
        if self._remove is not None:
            self._remove()
