"""Records, labels, schemas, splits, and the data sets that have names."""

from __future__ import annotations

from miaudit.data.arrays import from_arrays, from_sides, groups_of_sides
from miaudit.data.copies import Copies, same_records
from miaudit.data.dataset import Dataset
from miaudit.data.disjoint import apart_by_value, check_audited, leave_out_copies
from miaudit.data.features import Features, features
from miaudit.data.hashes import content_hash, row_hashes
from miaudit.data.load import load, load_parts
from miaudit.data.named import NAMED, NamedInfo, load_named
from miaudit.data.naming import near_names
from miaudit.data.records import Records, as_records, check_finite, n_records, stack_records, take_records
from miaudit.data.schema import Column, Schema, encoder
from miaudit.data.slices import slices_of
from miaudit.data.split import Split, draw_split, given_split, read_index

__all__ = [
    "NAMED",
    "Column",
    "Copies",
    "Dataset",
    "Features",
    "NamedInfo",
    "Records",
    "Schema",
    "Split",
    "apart_by_value",
    "as_records",
    "check_audited",
    "check_finite",
    "content_hash",
    "draw_split",
    "encoder",
    "features",
    "from_arrays",
    "from_sides",
    "given_split",
    "groups_of_sides",
    "leave_out_copies",
    "load",
    "load_named",
    "load_parts",
    "n_records",
    "near_names",
    "read_index",
    "row_hashes",
    "same_records",
    "slices_of",
    "stack_records",
    "take_records",
]
