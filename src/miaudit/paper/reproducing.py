"""Reproduce: run what a table or figure needs and is not there yet, and lay it beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from miaudit.auditing.workers import Engine
from miaudit.errors import PlanError
from miaudit.files import write_files
from miaudit.paper.comparison import Comparison, compare, markdown
from miaudit.paper.experiments import experiments
from miaudit.paper.outcomes import Outcome, Tell, load, measure, place
from miaudit.paper.published import Experiment
from miaudit.paper.purchases import CLUSTERED
from miaudit.paper.records import missing, own_purchases
from miaudit.paper.settings import SETTINGS, Scale, Setting


class Reproduction(NamedTuple):
    """Comparisons in the order asked for, the outcomes behind them by setting, and what could not be run with the reason."""

    comparisons: list[Comparison]
    outcomes: dict[str, list[Outcome]]
    left_out: dict[str, str]


def reproduce(
    names: Sequence[str],
    out: str | PathLike[str],
    *,
    scale: Scale = "quick",
    seeds: int = 1,
    shadows: int | None = None,
    purchases: int | None = None,
    repeats: bool = True,
    rows: Sequence[str] = (),
    engine: Engine | None = None,
    data: str | PathLike[str] | None = None,
    tell: Tell = lambda *_: None,
) -> Reproduction:
    """Measure what tables and figures of the paper need, as far as it is not in ``out``, and compare.

    Parameters
    ----------
    names
        As `miaudit.paper.EXPERIMENTS` has them; empty: all.
    out
        Folder: trained models' rows, one outcome for each setting, scale and seed, and a comparison for each name.
    scale, seeds
        ``"quick"`` or ``"paper"``; seeds 0, 1, ... so many.
    shadows
        How many shadow models in place of the scale's; comparisons say so.
    purchases
        How many simulated purchases are drawn in place of the scale's; at least 40,000.
    repeats
        Whether the attack is run again on shuffled memberships and on halves of the shadow models, which takes about three
        times what the attack takes.
    rows
        Only settings whose names begin with one of these; empty: all.
    engine, data, tell
        How the work is done, the folder of the named data sets, and whom to tell.

    Raises
    ------
    PlanError
        If there is no such table or figure, or nothing is left to run by ``rows``.
    """
    if seeds < 1:
        raise PlanError(f"seeds must be at least 1, got {seeds}")
    if purchases is not None and purchases < CLUSTERED:
        raise PlanError(f"purchases must be at least {CLUSTERED:,}, which k-means needs to see; got {purchases}")
    folder, selection, engine = Path(out), experiments(tuple(names)), engine or Engine()
    settings = _settings(selection, rows)
    left_out: dict[str, str] = {}
    outcomes: dict[str, list[Outcome]] = {}
    options: dict[str, Any] = {"shadows": shadows, "purchases": purchases, "repeats": repeats, "data": data}
    for group in _groups(settings):
        reason = missing(group[0], data)
        if reason is not None:
            left_out |= {setting.name: reason for setting in group}
            continue
        for seed in range(seeds):
            have = {s.name: _stored(folder, s, scale, seed, shadows, data) for s in group}
            todo = [setting for setting in group if have[setting.name] is None]
            fresh = measure(todo, folder, scale=scale, seed=seed, engine=engine, tell=tell, **options) if todo else []
            fresh = [load(outcome.save(folder / "outcomes")) for outcome in fresh]
            for outcome in [*(each for each in have.values() if each is not None), *fresh]:
                outcomes.setdefault(outcome.setting, []).append(outcome)
    for setting in _settings(selection, ()):  # outcomes of other rows lie there, too
        if setting not in settings and missing(setting, data) is None:
            stored_now = [_stored(folder, setting, scale, seed, shadows, data) for seed in range(seeds)]
            if any(stored_now):
                outcomes[setting.name] = [outcome for outcome in stored_now if outcome is not None]
    comparisons = [compare(experiment, outcomes, left_out) for experiment in selection]
    for comparison in comparisons:
        _write(comparison, folder)
    return Reproduction(comparisons, outcomes, left_out)


def _write(comparison: Comparison, folder: Path) -> None:
    document = comparison.model_dump_json(indent=1) + "\n"
    choices = "".join(f"* {choice}\n" for choice in comparison.choices)
    page = f"# {comparison.title}\n\nOurs / the paper's.\n\n{markdown(comparison)}\n{choices}"
    write_files(folder, {f"{comparison.name}.json": document.encode(), f"{comparison.name}.md": page.encode()})


def stored(folder: Path) -> dict[str, list[Outcome]]:
    """Return the outcomes in a folder by setting, those of the paper's scale where there are any, in the order of seeds."""
    by_setting: dict[str, list[Outcome]] = {}
    for path in sorted(folder.glob("*.json")):
        outcome = load(path)
        by_setting.setdefault(outcome.setting, []).append(outcome)
    of_scale = {}
    for name, each in by_setting.items():
        scale = "paper" if any(outcome.scale == "paper" for outcome in each) else "quick"
        of_scale[name] = sorted(
            (outcome for outcome in each if outcome.scale == scale), key=lambda outcome: outcome.seed
        )
    return of_scale


def _settings(selection: Sequence[Experiment], rows: Sequence[str]) -> list[Setting]:
    names = dict.fromkeys(row.setting for experiment in selection for row in experiment.rows if row.setting is not None)
    settings = [SETTINGS[name] for name in names if not rows or name.startswith(tuple(rows))]
    if not settings:
        raise PlanError(
            f"no setting begins with {', '.join(rows)}; there are {', '.join(names)}"
            if rows
            else "nothing to run: there are no data at hand for any row; see miaudit reproduce --list"
        )
    return settings


def _groups(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Return settings that share their models together."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.models, []).append(setting)
    return list(groups.values())


def _stored(
    folder: Path, setting: Setting, scale: Scale, seed: int, shadows: int | None, data: str | PathLike[str] | None
) -> Outcome | None:
    """Return the outcome that is there, if it is of as many shadow models and of the records that would be used now."""
    path = place(folder / "outcomes", setting.name, scale, seed)
    if not path.exists():
        return None
    outcome = load(path)
    simulated = setting.data == "purchase" and own_purchases(data) is None
    return (
        outcome if (outcome.shadows, outcome.simulated) == (setting.sized(scale, shadows).shadows, simulated) else None
    )
