"""Files as pandas frames: what pandas gives by default, so that a pipeline gets what it was trained on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from miaudit.data.delimited import is_packed
from miaudit.data.on_disk import Batches, FrameOnDisk, Rows, as_texts, without_index
from miaudit.data.room import within_memory
from miaudit.data.stacking import stack_frames
from miaudit.errors import DataError, counted
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
                    frame = as_texts(frame, [name for name in texts if name in frame.columns])
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
            f"{path} has {counted(records, 'record')}, and pandas {pandas.__version__} reads {len(frame)}: quotes "
            "or blank lines are not as both expect; write the file again with to_csv(index=False)"
        )
    return frame.reset_index(drop=True)


def frame_on_disk(
    sources: Sequence[Batches], files: Sequence[Path], names: Sequence[str], texts: Collection[str]
) -> FrameOnDisk | None:
    """Return the frame of files whose batches lie on disk; None where pandas gives their columns different types.

    Parameters
    ----------
    sources, files
        The batches of each file.
    names
        The columns of the frame.
    texts
        Columns to read as texts, as written.

    Raises
    ------
    DataError
        If pandas is not there or cannot read a file, or categories do not fit together.
    """
    pandas = _pandas()
    like = [_empty(path, source, names) for source, path in zip(sources, files, strict=True)]
    for name in names:
        dtypes = {str(each[name].dtype) for each in like}
        categorical = all(isinstance(each[name].dtype, pandas.CategoricalDtype) for each in like)
        if len(dtypes) > 1 and not categorical:
            return None
    form = like[0] if len(like) == 1 else stack_frames(like, [str(path) for path in files])
    return FrameOnDisk(Rows(sources), form, texts)


def _empty(path: Path, source: Batches, names: Sequence[str]) -> Any:
    """Return a frame without records that has the types which pandas gives the columns of a file."""
    pandas, pa = _pandas(), require("pyarrow", extra="parquet", what=f"{path}", error=DataError)
    write = require("pyarrow.parquet", extra="parquet", what=f"{path}", error=DataError).write_table
    metadata, columns = without_index(source.schema.metadata), {}
    for missing in (False, True):  # the type of whole numbers and booleans depends on whether some are missing
        fields = [source.schema.field(name) for name in names if (name in source.missing) == missing]
        if not fields:
            continue
        content = io.BytesIO()
        schema = pa.schema(fields, metadata=metadata)
        write(pa.table([pa.nulls(int(missing), field.type) for field in fields], schema=schema), content)
        content.seek(0)
        columns.update(dict(pandas.read_parquet(content).iloc[:0].items()))
    with within_memory(path):
        for name in names:
            if pa.types.is_dictionary(source.schema.field(name).type):
                columns[name] = pandas.read_parquet(path, columns=[name])[name].iloc[:0].reset_index(drop=True)
    return pandas.DataFrame({name: columns[name] for name in names})


def reading_of(path: Path, texts: Collection[str]) -> str:
    """Return the sentence that names how a frame was read."""
    call = "read_parquet" if path.name.lower().endswith(".parquet") else "read_csv"
    beside = f", {', '.join(sorted(texts))} as texts" if texts else ""
    return f"pandas {_pandas().__version__} {call}, default settings{beside}"


def advice_of(reading: str | None) -> str:
    """Return what to add where a model failed on records: what a frame of a CSV file may lack that it was trained on."""
    if reading is None or "read_csv" not in reading:
        return ""
    return (
        f". The records are what {reading.partition(',')[0]} makes of the file: digits are numbers, those of codes such as 007 "
        "too, and no column is categorical or holds dates. Name in data.texts the columns that the model was given as texts, "
        "or save its frames as Parquet, which keeps their types"
    )


def _pandas() -> Any:
    return require("pandas", extra="frames", what="frame = true", error=DataError)
