"""Files as pandas frames: what pandas gives by default, so that a pipeline gets what it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from miaudit.data.delimited import is_packed
from miaudit.data.room import within_memory
from miaudit.errors import DataError
from miaudit.libraries import require


def read_frame(path: Path, *, texts: Collection[str] = (), records: int) -> Any:
    """Return the frame that pandas' ``read_csv`` or ``read_parquet`` makes of a file with default settings.

    Parameters
    ----------
    path
        The file; its ending says which of the two.
    texts
        Columns to read as texts, as written (``dtype=str``).
    records
        How many records the file has; another number of pandas is refused.

    Raises
    ------
    DataError
        If pandas is not there or cannot read it, or reads one column as numbers and texts.
    """
    pandas = _pandas()
    with within_memory(path), warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        try:
            with path.open("rb") as file:
                if path.name.lower().endswith(".parquet"):
                    frame = pandas.read_parquet(file)
                    frame = frame.astype({name: "str" for name in texts if name in frame.columns})
                else:
                    frame = pandas.read_csv(
                        file, dtype=dict.fromkeys(texts, str), compression="gzip" if is_packed(path) else None
                    )
        except MemoryError:
            raise
        except Exception as error:  # of a library, on a file of anybody
            raise DataError(f"{path} cannot be read by pandas {pandas.__version__}: {error}") from error
    mixed = [str(warning.message) for warning in notices if issubclass(warning.category, pandas.errors.DtypeWarning)]
    if mixed:
        raise DataError(
            f"{path}: pandas {pandas.__version__} reads parts of a column as numbers and parts as texts ({mixed[0]}); "
            "state the column in texts, or correct it"
        )
    if len(frame) != records:
        raise DataError(
            f"{path} has {records} records, and pandas {pandas.__version__} reads {len(frame)}: quotes or blank lines are "
            "not as both expect; write the file again with to_csv(index=False)"
        )
    return frame.reset_index(drop=True)


def reading_of(path: Path, texts: Collection[str]) -> str:
    """Return the sentence that names how a frame was read."""
    call = "read_parquet" if path.name.lower().endswith(".parquet") else "read_csv"
    beside = f", {', '.join(sorted(texts))} as texts" if texts else ""
    return f"pandas {_pandas().__version__} {call}, default settings{beside}"


def _pandas() -> Any:
    return require("pandas", extra="frames", what="frame = true", error=DataError)
