"""Which columns of files hold what, and how they are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from miaudit.data.labels import Labels
from miaudit.data.schema import ColumnKind
from miaudit.errors import DataError, not_list


@dataclass(frozen=True)
class Columns:
    """What columns of a table, or arrays of an ``.npz``, hold, and how they are read: the options of `miaudit.data.load`."""

    label: str | None = None
    ids: str | None = None
    group: str | None = None
    order: Sequence[str] = ()
    drop: Collection[str] = ()
    categorical: Collection[str] = ()
    numeric: Collection[str] = ()
    labels: Labels = "codes"
    classes: Sequence[Any] | None = None
    frame: bool = False
    name: str | None = None
    records: str = "X"
    slices: Collection[str] = ()
    text: str | None = None
    texts: Collection[str] = ()

    def __post_init__(self) -> None:
        """Refuse what is no name, or no list of names, such as a text, which would be read as its letters."""
        for key in ("label", "ids", "group", "text", "name", "records"):
            value = getattr(self, key)
            if not isinstance(value, str) and (value is not None or key == "records"):
                raise DataError(f"{key} must be a text; got {value!r:.80}")
        for key in ("order", "drop", "categorical", "numeric", "slices", "texts"):
            value = getattr(self, key)
            _refuse_no_list(key, value)
            if not all(isinstance(each, str) for each in value):
                raise DataError(f"{key} must be a list of names, got {value!r:.80}")
        if not isinstance(self.frame, bool):
            raise DataError(f"frame must be true or false; got {self.frame!r:.80}")
        if self.classes is not None:
            _refuse_no_list("classes", self.classes)

    @property
    def named(self) -> list[str]:
        """All columns that are named."""
        single = (self.label, self.ids, self.group, self.text)
        lists = (self.order, self.drop, self.categorical, self.numeric, self.slices, self.texts)
        return [column for column in (*single, *(each for of in lists for each in of)) if column is not None]

    @property
    def beside(self) -> dict[str, str | None]:
        """What lies beside the records, by the name that it has in a data set."""
        return {"y": self.label, "ids": self.ids, "groups": self.group}

    def check(self) -> None:
        """Refuse columns that are stated twice, or to be of two kinds.

        Raises
        ------
        DataError
            With the columns, and what they are stated to be.
        """
        if twice := sorted({each for each in self.order if list(self.order).count(each) > 1}):
            raise DataError(f"order names {twice} more than once; name each feature once")
        for one, other in (("categorical", "numeric"), ("texts", "numeric")):
            if both := sorted(set(getattr(self, one)) & set(getattr(self, other))):
                raise DataError(f"columns {both} are stated to be both {one} and {other}; choose one")
        if self.text is not None and self.text in (self.label, self.ids, self.group):
            raise DataError(
                f"text = {self.text!r} names the record, and that column is its label, id or group; name another"
            )

    def check_features(self, features: Collection[str], others: Collection[str]) -> None:
        """Refuse what is stated of columns that are no features, and columns of which order and drop together say nothing.

        Parameters
        ----------
        features, others
            The columns that are the records, and those that nothing says to be something else.

        Raises
        ------
        DataError
            With the columns, and the options that name them.
        """
        for key in ("categorical", "numeric", "texts"):
            if idle := sorted(set(getattr(self, key)) - {*features}):
                raise DataError(
                    f"columns {idle} are named in {key}, and are no features: dropped, the label, ids or group, or not named "
                    "in order; take them out of one of the two"
                )
        if self.order and self.drop and (silent := sorted({*others} - {*features} - {*self.drop} - {*self.slices})):
            raise DataError(
                f"columns {silent[:10]} are named neither in order nor in drop: name each in one of them, or leave drop out, "
                "as order alone leaves out all that it does not name"
            )

    def stated(self, features: Collection[str]) -> dict[str, ColumnKind]:
        """Return the kind of those features for which one is stated."""
        kinds: dict[str, ColumnKind] = dict.fromkeys({*self.categorical, *self.texts} & set(features), "categorical")
        return kinds | dict.fromkeys(set(self.numeric) & set(features), "numeric")


def _refuse_no_list(key: str, value: Any) -> None:
    again = (
        [] if isinstance(value, Collection) else [(key, f"must be a list that can be read again, got {value!r:.80}")]
    )
    for path, sentence in (*not_list((key, value)), *again):
        raise DataError(f"{path} {sentence}")
