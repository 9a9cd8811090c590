from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaudit.data import draw_split, from_arrays, given_split, read_index
from miaudit.data.split import SIDES
from miaudit.errors import SplitError


def dataset(n=30, groups=None, copies=()):
    """n different records; each pair (i, j) in copies makes record j a copy of record i."""
    X = np.arange(2.0 * n).reshape(n, 2)
    for i, j in copies:
        X[j] = X[i]
    return from_arrays(X, np.arange(n) % 2, groups=groups, group_name=None if groups is None else "person")


def sides(split):
    return [getattr(split, name) for name in SIDES]


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(6, 60),
    members=st.integers(1, 20),
    nonmembers=st.integers(1, 20),
    population=st.one_of(st.none(), st.integers(1, 20)),
    seed=st.integers(0, 2**40),
)
def test_sides_are_disjoint_and_of_the_sizes_asked_for(n, members, nonmembers, population, seed):
    options = {"members": members, "nonmembers": nonmembers, "population": population, "seed": seed}
    if members + nonmembers + (population or 1) > n:
        with pytest.raises(SplitError, match=f"the data has {n} records"):
            draw_split(dataset(n), **options)
        return
    split = draw_split(dataset(n), **options)
    rest = n - members - nonmembers
    assert [len(side) for side in sides(split)] == [members, nonmembers, rest if population is None else population]
    together = np.concatenate(sides(split))
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < n
    assert split.sha256 == draw_split(dataset(n), **options).sha256
    assert split.describe()["duplicates"] == dict.fromkeys(
        ("members/nonmembers", "members/population", "nonmembers/population"), 0
    )


@settings(deadline=None, max_examples=60)
@given(
    extra=st.lists(st.integers(0, 12), max_size=40),
    members=st.integers(1, 6),
    nonmembers=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_no_group_is_on_two_sides(extra, members, nonmembers, seed):
    groups = [*range(13), *extra]  # 6 + 6 + 1 groups fit in any order
    data = dataset(len(groups), groups)
    split = draw_split(data, members=members, nonmembers=nonmembers, seed=seed)
    found = [set(data.groups[side].tolist()) for side in sides(split)]
    assert sum(map(len, found)) == len(set.union(*found))
    assert [len(split.members), len(split.nonmembers)] == [members, nonmembers]
    assert split.group_name == "person"
    unused = set(range(len(groups))) - set(np.concatenate(sides(split)).tolist())
    assert {groups[i] for i in unused} <= found[0] | found[1], "only what is left of a person already placed is unused"


def test_groups_are_drawn_without_regard_to_their_size():
    """Ten records of one person and ten persons with one: each person is first among members equally often."""
    groups = [0] * 10 + list(range(1, 11))
    data = dataset(20, groups)
    first = [data.groups[draw_split(data, members=1, seed=seed).members[0]] for seed in range(600)]
    assert abs(np.mean(np.array(first) == 0) - 1 / 11) < 4 * np.sqrt(1 / 11 * 10 / 11 / 600)


def test_every_record_is_a_member_equally_often():
    counts = np.bincount(np.concatenate([draw_split(dataset(), members=10, seed=s).members for s in range(600)]))
    assert len(counts) == 30
    assert (abs(counts - 200) < 5 * np.sqrt(600 * 2 / 9)).all()


def test_a_draw_is_pinned_and_does_not_depend_on_dtype():
    split = draw_split(dataset(), members=3, seed=7)
    assert split.members.dtype == np.int64
    narrow = from_arrays(dataset().X.astype(np.float32), dataset().y.astype(np.int8))
    assert draw_split(narrow, members=np.int32(3), seed=np.int64(7)).sha256 == split.sha256
    assert split.members.tolist() == PINNED
    groups = np.arange(30) // 2
    as_texts = draw_split(dataset(30, [f"p{g}" for g in groups]), members=3, seed=7)
    assert as_texts.sha256 == draw_split(dataset(30, groups), members=3, seed=7).sha256


PINNED = [29, 25, 7]


def test_groups_can_be_ignored_or_demanded():
    groups = np.arange(30) // 15
    with pytest.raises(SplitError, match="whole groups"):
        draw_split(dataset(30, groups), members=3, seed=0)
    assert draw_split(dataset(30, groups), members=3, seed=0, by_group=False).group_name is None
    with pytest.raises(SplitError, match="the data has no groups"):
        draw_split(dataset(), members=3, seed=0, by_group=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"members": 20},
            "need 41 records, the data has 30 records; at most 14 members .* with three equal sides, 10 each",
        ),
        (
            {"members": 10, "population": 11},
            "population = 11 need 31 records, the data has 30 records; at most 9 members",
        ),
        ({"members": 0}, "members = 0: every side needs at least one record"),
        ({"members": 5, "nonmembers": 0}, "nonmembers = 0"),
        ({"members": 5, "population": -1}, "population = -1"),
        ({"members": 2.5}, "members = 2.5"),
        ({"members": True}, "members = True"),
        ({"members": 5, "seed": -1}, "seed = -1"),
        ({"members": 5, "duplicates": "keep"}, "duplicates = 'keep' is not known; it is 'report' or 'drop'"),
    ],
)
def test_draws_that_cannot_be_made(options, message):
    with pytest.raises(SplitError, match=message):
        draw_split(dataset(), **({"seed": 0} | options))


def test_copies_across_sides_are_counted():
    data = dataset(10, copies=[(0, 5), (0, 8), (1, 9), (6, 7)])
    split = given_split(data, [0, 1, 2], [3, 4, 5, 6], [7, 8, 9])
    assert split.duplicates == {"members/nonmembers": 1, "members/population": 2, "nonmembers/population": 2}
    assert split.group_name is None


def test_copies_are_dropped_before_a_draw():
    data = dataset(10, copies=[(0, 5), (0, 8), (1, 9), (6, 7)])
    split = draw_split(data, members=2, seed=0, duplicates="drop")
    assert sorted(np.concatenate(sides(split)).tolist()) == [0, 1, 2, 3, 4, 6]
    assert split.duplicates == {
        "members/nonmembers": 0,
        "members/population": 0,
        "nonmembers/population": 0,
        "dropped": 4,
    }
    with pytest.raises(SplitError, match=r"the data has 6 different records \(10 with copies\)"):
        draw_split(data, members=3, seed=0, duplicates="drop")


def test_copies_are_dropped_from_the_later_side_of_a_given_split():
    data = dataset(10, copies=[(0, 5), (0, 8), (1, 9), (6, 7)])
    split = given_split(data, [0, 1, 2], [3, 4, 5, 6], [7, 8, 9], duplicates="report")
    assert len(split.nonmembers) == 4
    with pytest.raises(SplitError, match="population is empty"):
        given_split(data, [0, 1, 2], [3, 4, 5, 6], [7, 8, 9], duplicates="drop")
    split = given_split(data, [8, 1], [3, 4, 5, 6], [0, 2, 7], duplicates="drop")
    assert [side.tolist() for side in sides(split)] == [[8, 1], [3, 4, 6], [2]]
    assert split.duplicates["dropped"] == 3


def test_population_is_the_rest_unless_given():
    assert given_split(dataset(6), [0, 1], [4]).population.tolist() == [2, 3, 5]
    data = dataset(6, groups=[1, 2, 1, 3, 2, 4])
    assert given_split(data, [0], [1]).population.tolist() == [3, 5], "without the others of persons 1 and 2"


@pytest.mark.parametrize(
    ("given_sides", "message"),
    [
        (([0, 1, 2], [2, 3], [4]), r"members and nonmembers share 1 record, such as \[2\]"),
        (([0, 1], [2, 3], [3, 4]), "nonmembers and population share 1 record"),
        (([0, 0, 1], [2], [3]), r"members: 1 record number is repeated, such as \[0\]"),
        (([0, 30], [2], [3]), r"members: 1 record number is out of range, first 30; allowed: 0\.\.29"),
        (([0], [-1], [3]), "nonmembers: 1 record number is out of range, first -1"),
        (([0.0], [1], [3]), "members: record numbers must be whole numbers, got dtype float64"),
        (([True, False], [1], [3]), "np.flatnonzero turns a mask into numbers"),
        (([[0]], [1], [3]), r"must have shape \(k,\), got \(1, 1\)"),
        (([], [1], [3]), "members is empty"),
        (([0], [], [3]), "nonmembers is empty"),
        (([0], [1], []), "population is empty"),
    ],
)
def test_given_sides_that_do_not_fit(given_sides, message):
    with pytest.raises(SplitError, match=message):
        given_split(dataset(), *given_sides)


def test_given_sides_that_share_a_person():
    data = dataset(6, groups=["ann", "bob", "ann", "cy", "dee", "eve"])
    with pytest.raises(SplitError, match="members and population share 1 group by person, such as 'ann'"):
        given_split(data, [0], [1], [2, 3])
    assert given_split(data, [0], [1], [2, 3], by_group=False).group_name is None
    assert given_split(data, [0, 2], [1], [3, 4]).group_name == "person"


def test_the_hash_sees_which_side_and_which_record():
    data = dataset(6)
    hashes = {
        given_split(data, *order).sha256
        for order in (([0], [1], [2]), ([1], [0], [2]), ([0], [1], [3]), ([0, 1], [2], [3]), ([0], [1, 2], [3]))
    }
    assert len(hashes) == 5


def test_index_files(tmp_path):
    for name, content in (("a.txt", "3\n1\n\n2\n"), ("a.csv", "\ufeff3\r\n1\r\n2\r\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert read_index(tmp_path / name, 4).tolist() == [3, 1, 2]
    np.save(tmp_path / "a.npy", np.array([3, 1, 2], dtype=np.uint8))
    assert read_index(tmp_path / "a.npy").dtype == np.int64


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"1\nx\n", "line 2: 'x' is not a whole number"),
        ("a.txt", b"1\n2.0\n", "line 2: '2.0' is not a whole number"),
        ("a.txt", b"", "holds no record numbers"),
        ("a.txt", b"1\n9\n", r"1 record number is out of range, first 9; allowed: 0\.\.8"),
        ("a.csv", b"1\n-2\n", "out of range, first -2"),
        ("a.csv", b"1\n1\n", "1 record number is repeated"),
        ("a.csv", b"99999999999999999999\n", "too large for a record number"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read as record numbers"),
        ("a.npy", b"nonsense", "cannot be read as record numbers"),
        ("a.json", b"[1]", "are read from .npy, .txt or .csv"),
    ],
)
def test_index_files_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SplitError, match=message):
        read_index(tmp_path / name, 9)


def test_index_file_missing_or_of_floats(tmp_path):
    with pytest.raises(SplitError, match="there is no such file"):
        read_index(tmp_path / "none.txt")
    np.save(tmp_path / "a.npy", np.array([1.0]))
    with pytest.raises(SplitError, match="got dtype float64"):
        read_index(tmp_path / "a.npy")
