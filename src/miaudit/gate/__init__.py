"""The gate: a policy over the documents of an audit. It passes, it fails, or the audit does not tell.

A failure is a lower end beyond a limit, at levels that hold for all attacks and limits together. A pass is equivalence: every
figure's upper end lies below its margin, an intersection-union test that needs no correction. All else is inconclusive.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from miaudit.documents import Document, problems_of
from miaudit.errors import PlanError, counted, nearest
from miaudit.gate.canaries import CanaryFigures, check_epsilon
from miaudit.gate.checks import Bench, check_areas, check_named, check_pair, check_rates, check_slices
from miaudit.gate.comparison import Comparison, FigureChange, compare
from miaudit.gate.decision import EXIT_CODES, Check, Decision, Outcome
from miaudit.gate.limits import AreaLimit, EpsilonLimit, EvidenceNeeded, NamedLimit, RateLimit, RiseLimit, SliceLimit
from miaudit.gate.requirements import CONTROLS, required
from miaudit.gate.rise import check_rise
from miaudit.result import Result

__all__ = [
    "EXIT_CODES",
    "CanaryFigures",
    "Check",
    "Comparison",
    "Decision",
    "FigureChange",
    "Outcome",
    "Policy",
    "built_in",
    "compare",
]


class Policy(Document):
    """What may be released: limits on the ends of intervals, and what the audit must have tried.

    ``confidence`` is one minus the error of all limits' failures together, and of each upper end. ``leak``: a verdict of a leak
    fails, however small, with the verdict's own error of 5 %. ``evidence`` is what a pass must rest on; the other tables are
    limits, of which there is at least one. ``pair`` is that of a deletion audit on what both models give away to whoever kept
    the earlier one; the others are then of the model afterwards.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    purpose: str = ""
    confidence: Annotated[float, Field(ge=0.8, lt=1)] = 0.95
    leak: bool = False
    evidence: EvidenceNeeded = EvidenceNeeded()
    auc: AreaLimit | None = None
    pair: AreaLimit | None = None
    tpr: tuple[RateLimit, ...] = ()
    named: NamedLimit | None = None
    slices: SliceLimit | None = None
    epsilon: EpsilonLimit | None = None
    rise: RiseLimit | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.auc is None and not self.tpr:
            raise ValueError("limits neither auc nor tpr, so that a pass would rest on no attack's figure")
        rates = [limit.fpr for limit in self.tpr]
        if len(set(rates)) < len(rates):
            raise ValueError(f"limits the tpr at one rate twice: {rates}")
        return self

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Return a built-in policy by its name, or that of a TOML file.

        Raises
        ------
        PlanError
            If there is none, or it is no policy.
        """
        policies = built_in()
        if str(name) in policies:
            return cls.of_text(policies[str(name)], str(name))
        path = Path(name)
        if path.suffix != ".toml":
            hint = nearest(str(name), policies) or f"built in are {', '.join(policies)}"
            raise PlanError(f"no policy {str(name)!r}: {hint}; or give the path of a .toml file")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        return cls.of_text(text, str(path))

    @classmethod
    def of_text(cls, text: str, where: str) -> Self:
        """Return the policy of a TOML text.

        Raises
        ------
        PlanError
            If it is none; all problems at once.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise PlanError(f"{where} is not TOML: {error}") from error
        except RecursionError as error:
            raise PlanError(f"{where} is nested too deeply to be a policy") from error
        except ValidationError as error:
            problems = "; ".join(f"{path}: {sentence}" for path, sentence in problems_of(cls, error))
            raise PlanError(f"{where} is no policy: {problems}") from error

    def check(
        self, result: Result, *, baseline: Result | None = None, canaries: CanaryFigures | None = None
    ) -> Decision:
        """Judge a result.

        Parameters
        ----------
        result
            Of an audit.
        baseline
            Of an earlier audit: no attack of its may find more now, by the policy's limits or the defaults of
            :class:`~miaudit.gate.limits.RiseLimit`.
        canaries
            Of a canary audit of the same model, where the policy limits its epsilon.

        Raises
        ------
        DataError
            If the baseline cannot be compared with the result.
        PlanError
            If canaries are given and the policy limits no epsilon.
        """
        if canaries is not None and self.epsilon is None:
            raise PlanError(
                f"the policy {self.name!r} limits no epsilon: leave the canary audit out, or add a table [epsilon]"
            )
        rise = self.rise or (RiseLimit() if baseline is not None else None)
        limits = [self.auc, self.pair, *self.tpr, self.named, self.slices, self.epsilon, rise]
        bench = Bench(result, 1 - self.confidence, sum(each is not None for each in limits))
        checks = required(result, self.evidence, leak=self.leak)
        if self.auc is not None:
            checks += check_areas(bench, self.auc)
        if self.pair is not None:
            checks += check_pair(bench, self.pair)
        for limit in self.tpr:
            checks += check_rates(bench, limit)
        if self.named is not None:
            checks += check_named(bench, self.named)
        if self.slices is not None:
            checks += check_slices(bench, self.slices)
        if self.epsilon is not None:
            errors = bench.errors(1)
            checks.append(check_epsilon(canaries, self.epsilon, low_error=errors.low, high_error=errors.high))
        if rise is not None:
            checks += check_rise(bench, baseline, rise)
        return self._decided(bench, checks)

    def _decided(self, bench: Bench, checks: list[Check]) -> Decision:
        outcomes = {check.outcome for check in checks}
        outcome: Outcome = "fail" if "fail" in outcomes else "inconclusive" if "inconclusive" in outcomes else "pass"
        result, lead = bench.result, bench.result.lead
        basis = None if lead is None else lead.basis
        people = result.split.people if result.split.unit == "person" else None
        sides = (basis.members, basis.nonmembers) if basis is not None else tuple((people or {}).values())
        members, nonmembers = sides or (result.split.members, result.split.nonmembers)
        return Decision(
            title=result.title,
            policy=self.name,
            purpose=self.purpose,
            outcome=outcome,
            unit=result.split.unit,
            members=members,
            nonmembers=nonmembers,
            needed=_needed(checks),
            checks=checks,
            remarks=_remarks(bench, self),
        )


def _needed(checks: list[Check]) -> int | None:
    """Return the largest number that a check asks for; None where some figure no number of records would settle."""
    short = [check for check in checks if check.outcome == "inconclusive" and check.short]
    if any(check.needed is None for check in short):
        return None
    return max((check.needed for check in checks if check.needed), default=None)


def _remarks(bench: Bench, policy: Policy) -> list[str]:
    """Return what the checks leave unsaid."""
    remarks = []
    if bench.result.verdict_kind == "leak" and not policy.leak:
        remarks.append("A leak was found; the policy limits how large it may be.")
    if policy.slices is not None:
        least = policy.slices.least
        small = sum(
            min(each.members, each.nonmembers) < least for grouping in bench.result.groups for each in grouping.groups
        )
        if small:
            slices = counted(small, "slice was", "slices were")
            remarks.append(
                f"{slices} looked at for a failure only, for having fewer than {counted(least, 'record')} on a side."
            )
    remarks += [
        f"'{attack.name}' could not score {counted(attack.missing, 'record')}, for lack of shadow models; in its upper ends "
        "each counts as if it were told for sure."
        for attack in bench.ran
        if attack.missing
    ]
    controls = [name for control, name in CONTROLS.items() if control not in policy.evidence.controls]
    remarks += [f"The policy does not ask for {name}." for name in controls]
    skipped: dict[str, list[str]] = {}
    for attack in bench.result.attacks:
        if attack.status == "skipped":
            skipped.setdefault(attack.reason or "no reason is known", []).append(f"'{attack.name}'")
    return remarks + [f"Not run: {', '.join(names)}: {reason}" for reason, names in skipped.items()]


def built_in() -> dict[str, str]:
    """Return the TOML texts of the built-in policies by their names."""
    folder = resources.files("miaudit.gate") / "policies"
    texts = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir() if each.name.endswith(".toml")}
    return {name.removesuffix(".toml"): texts[name] for name in sorted(texts)}
