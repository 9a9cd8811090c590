"""A gate inside a test suite: a trained model, its records, and an AssertionError where it may not be released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miaudit.seeds import generator

if TYPE_CHECKING:
    from miaudit.gate import Decision, Policy


def assert_no_leak(
    model: Any,
    *,
    members: tuple[Any, Any],
    nonmembers: tuple[Any, Any],
    population: tuple[Any, Any] | None = None,
    policy: str | Path | Policy = "leak-only",
    seed: int = 0,
    **options: Any,
) -> Decision:
    """Audit a model, and raise where the result does not pass a policy.

    What the audit does not tell does not pass either: with too few records the message says how many would do.

    Parameters
    ----------
    model
        As of :func:`miaudit.audit`, with its training records and others of the same kind in ``members`` and ``nonmembers``,
        pairs ``(X, y)``.
    population
        Further records, on which shadow models are trained; None: a random half of the non-members, which are then not audited.
    policy
        The name of a built-in policy, the path of a TOML file, or a policy.
    seed
        Root of all random draws.
    options
        As of :func:`miaudit.audit`: ``shadows``, ``recipe``, ``groups``, ``attacks``, ``out`` and others.

    Returns
    -------
    Decision
        A pass.

    Raises
    ------
    AssertionError
        If the result fails, or is inconclusive, with the decision as text.
    MiauditError
        If the audit cannot be carried out, or there is no such policy.

    Examples
    --------
    >>> assert_no_leak(model, members=(X, y), nonmembers=(X_test, y_test))  # doctest: +SKIP
    """
    from miaudit.auditing import audit  # not at the top: whoever wants a world needs none of it
    from miaudit.data.records import take_records
    from miaudit.gate import Policy
    from miaudit.report.decision import text

    limits = policy if isinstance(policy, Policy) else Policy.load(policy)
    if population is None:
        X, y = nonmembers
        order = generator(seed, "population of a test").permutation(len(y))
        halves = [np.sort(order[: len(y) // 2]), np.sort(order[len(y) // 2 :])]
        nonmembers, population = ((take_records(X, half), take_records(y, half)) for half in halves)
    result = audit(
        model,
        members=members,
        nonmembers=nonmembers,
        population=population,
        seed=seed,
        **{"jobs": 0, **options},
    )
    decision = limits.check(result)
    if decision.outcome != "pass":
        raise AssertionError(text(decision))
    return decision
