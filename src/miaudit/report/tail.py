"""The other tail: how many non-members are told apart for sure, which needs no shadow models."""

from __future__ import annotations

from collections.abc import Iterator

from miaudit.result import Result
from miaudit.result.estimate import estimate

_FNR = 0.01


def surely_out(result: Result) -> Iterator[str]:
    """Yield how many non-members the loss threshold clears where it misses at most 1 % of the members, as a sentence."""
    for attack in result.attacks:
        if attack.name != result.controls.baseline or attack.status != "ran":
            continue
        for rate in attack.of_unit.tnr_at_fnr:
            if abs(rate.fnr - _FNR) < 1e-9 and rate.tnr is not None:
                figure = estimate(rate.tnr, rate.low, rate.high)
                yield (
                    f"Out for sure: where at most {100 * _FNR:g} % of the members are missed, the loss clears a share of "
                    f"{figure} of the non-members (guessing: {_FNR:g})."
                )
