"""Whether a folder still holds the audit that was made: hashes, figures from its table, and attacks from its rows again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from miaudit.auditing import audit
from miaudit.auditing.provenance import versions
from miaudit.auditing.scoring import score
from miaudit.errors import MiauditError, PlanError, StoreError, counted, noun
from miaudit.files import noted_seal, read_json, sha256_of, temporary_folder
from miaudit.findings import recount, uncountable
from miaudit.plan import FiguresPlan, Plan, section_of
from miaudit.plan.permissions import Permissions
from miaudit.result import Result
from miaudit.result.difference import differences
from miaudit.result.seal import SEALED, Seal
from miaudit.result.subject import SynthesisResult
from miaudit.result.table import shown
from miaudit.result.wording import sentence
from miaudit.shadows.engine import Progress

_MOST = 20  # differences told one by one
_APART = "models were trained one by one because"  # a warning of a training, which a run from the store does not repeat


@dataclass(frozen=True)
class Way:
    """How a kind of audit comes to its result: what verifies it.

    ``sentence`` is that of the verdict of a result; ``audit`` carries a plan out, or a call in Python; ``score`` judges stored
    answers, as the ``call`` of that name did.
    """

    sentence: Callable[[Result], str]
    audit: Callable[..., Result]
    score: Callable[..., Result]
    call: str


def _sentence(result: Result) -> str:
    assert result.finding is not None
    controls = result.controls
    return sentence(result.finding, result.attacks, controls.null, controls.blind, controls.pattern)


MEMBERSHIPS = Way(_sentence, audit, score, "miaudit score")
"""Audits of memberships."""


@dataclass(frozen=True)
class Verification:
    """What was compared, and what does not agree.

    ``problems`` are what is not as it was made; none: all that was compared agrees. ``compared`` says what was, ``remarks``
    what could not be, and ``seal`` is what all files hash to now.
    """

    seal: str | None
    problems: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def verify(
    folder: str | PathLike[str],
    subject: Any = None,
    /,
    *,
    seal: str | None = None,
    outputs: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    permissions: Permissions | None = None,
    way: Way = MEMBERSHIPS,
    **inputs: Any,
) -> Verification:
    """Compare the result in a folder with the hashes, the table and the rows beside it; nothing is written or trained.

    A change of a file that is not rehashed is found by its hash; one of a figure also by counting it again from the table, and
    by running every attack again on the stored rows, where the records and the target are at hand. Whoever changes rows,
    table, result and hashes alike makes a forgery that agrees with itself: it differs from the ``seal`` that the run
    printed, and from models that are trained again (`miaudit.audit` with ``retrain``).

    Parameters
    ----------
    folder
        Of an audit.
    subject
        The model, where the audit was of one in Python, with ``inputs``: the other arguments of that call; default: the
        plan in the result.
    seal
        What the run printed.
    outputs
        The file that was audited, of `miaudit score`.
    data, permissions
        How the plan is read, as of `miaudit.audit`.
    way
        Of which kind the audit is; one of deletions is verified by `miaudit.unlearning.verify`.

    Raises
    ------
    StoreError
        If there is no result, or it cannot be read.
    PlanError
        If ``seal`` is none.
    """
    folder, seal = Path(folder), noted_seal(seal)
    result = Result.load(folder)
    verification = Verification(_value(folder))
    problems, compared, remarks = verification.problems, verification.compared, verification.remarks
    problems += _unlike_hashes(folder, seal, compared, remarks)
    unlike = [*_unlike_table(result, way, compared, remarks)]
    try:
        again = _again(folder, result, subject, inputs, outputs, data, permissions or Permissions(), way)
    except MiauditError as error:
        remarks.append(f"The attacks were not run again from stored answers: {error}")
    else:
        unlike += _unlike(result, again)
        compared.append("every figure with those of all attacks, run again on the stored answers")
    problems += [*unlike, *(_other_versions(result) if unlike else [])]
    return verification


def _value(folder: Path) -> str | None:
    try:
        return Seal.load(folder).value
    except StoreError:
        return None


def _unlike_hashes(folder: Path, value: str | None, compared: list[str], remarks: list[str]) -> Iterator[str]:
    try:
        sealed = Seal.load(folder)
    except StoreError as error:
        yield str(error)
        return
    if value is not None and value != sealed.value:
        yield f"the seal is {sealed.value} now, not {value}: the files are not those of the run that printed it"
    yield from sealed.changes(folder)
    compared.append(f"the hashes of {counted(len(sealed.files) - len(sealed.removed), 'file')}")
    if sealed.removed:
        remarks.append(
            f"{counted(len(sealed.removed), 'file was', 'files were')} removed by miaudit clean, and "
            "only their hashes are here."
        )
    if unnamed := sealed.unnamed(folder):
        remarks.append(
            f"{counted(len(unnamed), 'file')} beside the result {noun(len(unnamed), 'is', 'are')} not in {SEALED}, so that no "
            f"hash speaks of {noun(len(unnamed), 'it', 'them')}: {', '.join(unnamed[:3])}{', ...' if len(unnamed) > 3 else ''}."
        )
    if any((folder / name).is_file() for name in ("report.html", "share/report.html")) or any(folder.glob("annex-*")):
        remarks.append(
            "Pages and annexes are renderings of the result, and were not compared with it: miaudit report and miaudit annex "
            "write them again."
        )
    if value is None:
        remarks.append(
            "Without the seal that the run printed (--seal), a forgery that changed the hashes, too, is not found by them."
        )


def _unlike_table(result: Result, way: Way, compared: list[str], remarks: list[str]) -> Iterator[str]:
    if result.finding is not None and way.sentence(result) != result.verdict:
        yield "the sentence of the verdict does not say what finding and figures say"
    if (why := uncountable(result)) is not None:
        remarks.append(f"Figures were not counted again from the table of records: {why}.")
        return
    yield from recount(result)
    compared.append("areas, rates and accusations with the scores in records.csv")


def _again(
    folder: Path,
    result: Result,
    subject: Any,
    inputs: Mapping[str, Any],
    outputs: str | PathLike[str] | None,
    data: str | PathLike[str] | None,
    permissions: Permissions,
    way: Way,
) -> Result:
    """Return the result that comes out of the stored answers now; they are read in a folder of links, where nothing is lost."""
    plan = dict(result.provenance.plan)
    call = plan.get("call")
    if call == way.call:
        return _scored(result, plan, outputs, way)
    if outputs is not None:
        raise PlanError(f"{outputs} is for audits of stored outputs, and this is none")
    if result.shadows.failed:
        raise StoreError(f"{counted(result.shadows.failed, 'model')} failed, and would be trained once more")
    _refuse_other_records(result, folder)
    if subject is None:
        if call is not None:
            raise PlanError("the audit was of a model in Python: give it to miaudit.auditing.verification.verify")
        if plan.get("target", {}).get("url") is not None:
            raise PlanError("the target is a server, which would have to be asked")
        subject, inputs = Plan.of_document(plan), {"data": data, **vars(permissions)}
    with temporary_folder("miaudit-verify-") as there:
        _link(folder, there)
        return way.audit(subject, out=there, jobs=0, tell=_train_nothing, **inputs)


def _refuse_other_records(result: Result, folder: Path) -> None:
    """Refuse where the records that shadow models are trained on would be made once more, by asking the target."""
    if result.synthesis is None:
        return
    try:
        now = SynthesisResult.model_validate(read_json(folder / "synthesis.json"))
    except (OSError, ValueError) as error:
        raise StoreError(f"the records made for the shadow models are not in {folder} any more ({error})") from error
    if now != result.synthesis:
        state = (
            f"a synthesis that was stopped ({now.stopped})" if now.stopped is not None else "those of another synthesis"
        )
        raise StoreError(
            f"{folder} does not hold the records of this audit, but {state}; they would have to be made again"
        )


def _scored(result: Result, plan: dict[str, Any], outputs: str | PathLike[str] | None, way: Way) -> Result:
    if outputs is None:
        raise PlanError("the audit was of stored outputs: give the file (--outputs)")
    if sha256_of(Path(outputs)) != result.provenance.hashes.get("outputs"):
        raise StoreError(f"{outputs} is not the file that was audited, by its hash")
    operating = section_of(FiguresPlan, {key: plan[key] for key in FiguresPlan.model_fields})
    seed, title = result.provenance.seeds["root"], result.title
    further = {"procedure": plan["procedure"]} if "procedure" in plan else {}
    return way.score(
        *(Path(outputs),),
        seed=seed,
        title=title,
        operating=operating,
        unit=plan["unit"],
        attacks=plan.get("attacks"),
        **further,
    )


def _link(folder: Path, there: Path) -> None:
    (there / "rows").mkdir()
    for row in (folder / "rows").glob("*.safetensors"):
        (there / "rows" / row.name).symlink_to(row.resolve())
    for name in ("store.json", "synthesis.npz", "synthesis.json"):
        if (folder / name).is_file():
            shutil.copy2(folder / name, there / name)
    if (folder / "target").is_dir():
        shutil.copytree(folder / "target", there / "target")


def _train_nothing(text: str, progress: Progress | None) -> None:
    if progress is not None and progress.of == "models" and progress.found < progress.total:
        raise StoreError(
            f"{progress.total - progress.found:,} of {counted(progress.total, 'row')} "
            f"{noun(progress.total - progress.found, 'is', 'are')} not there, or damaged"
        )


def _unlike(result: Result, again: Result) -> Iterator[str]:
    old, new = (each.model_dump(mode="json", by_alias=True, exclude={"provenance"}) for each in (result, again))
    for each in (old, new):
        each["warnings"] = [text for text in each["warnings"] if _APART not in text]
    unlike = list(differences(old, new))
    yield from (f"{each}, which the stored answers give" for each in unlike[:_MOST])
    if len(unlike) > _MOST:
        yield f"{counted(len(unlike) - _MOST, 'further figure is', 'further figures are')} not what the stored answers give"
    columns, theirs = result.records.columns, again.records.columns
    for name in columns if len(result.records) else ():
        stored, fresh = ([_cell(name, value) for value in of.get(name, [])] for of in (columns, theirs))
        wrong = sum(1 for _ in differences(stored, fresh)) if len(stored) == len(fresh) else len(stored)
        if wrong:
            yield (
                f"records.csv: {counted(wrong, 'value')} of {name!r} {noun(wrong, 'is', 'are')} not what the stored "
                "answers give"
            )


def _other_versions(result: Result) -> Iterator[str]:
    """Say which versions differ, of which figures and the words for them may be."""
    then, now = result.provenance.versions, versions()
    packages = [
        f"{name} {then[name]} then, {now[name]} now" for name in then.keys() & now.keys() if then[name] != now[name]
    ]
    if packages:
        yield f"versions differ, which may be why: {', '.join(sorted(packages))}"


def _cell(column: str, value: Any) -> Any:
    """Return a value as it comes back from the file: texts for ids and classes, None for what is missing."""
    if column in ("id", "class"):
        return shown(str(value))
    value = value.item() if hasattr(value, "item") else value
    return None if value != value else value
