"""What only people can say of an audit: who, why, of whom, and what else is released. No figure depends on it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from miaudit.documents import problems_of
from miaudit.errors import PlanError
from miaudit.plan.sections import Section


class DeclaredPlan(Section):
    """What people declare, for the evidence file (docs/annex.md); no figure depends on it."""

    who: str | None = Field(None, description="who ran the audit")
    role: str | None = Field(None, description="in what role: developer, internal or external auditor")
    on_behalf_of: str | None = Field(None, description="for whom it was run")
    purpose: str | None = Field(None, description="why, and under which clause or contract")
    model: str | None = Field(None, description="which model, in words: product, version")
    parameters: int | None = Field(None, ge=0, description="how many parameters the model has")
    training_records: int | None = Field(
        None, ge=1, description="how many records it was trained on, where more than were audited"
    )
    release: str | None = Field(
        None, description="to whom it is released: internal, customers by an interface, public weights"
    )
    variants: list[str] = Field([], description="all released variants, such as quantised or distilled ones")
    subjects: str | None = Field(None, description="whose records they are")
    unit: str | None = Field(None, description="the unit of privacy in words, such as a patient with all stays")
    drawn: str | None = Field(None, description="how members and non-members came about")
    period: str | None = Field(None, description="the time that the records span")
    access: str | None = Field(None, description="who can ask the model, at which rate, and what else they see")
    other_attacks: dict[str, str] = Field(
        {},
        description="what was done elsewhere by class of attack: attribute inference, extraction, inversion, reconstruction, "
        "regurgitation",
    )
    measures: list[str] = Field(
        [], description="measures taken: minimisation, regularisation, differential privacy, rate limits"
    )
    margins_by: str | None = Field(None, description="who set the margins of the policy, when and why")
    earlier: str | None = Field(None, description="the earlier audit of this model, and what changed since")
    deployers: str | None = Field(None, description="what those who deploy the model are told")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what a TOML file declares in its table ``[declared]``; a plan is such a file.

        Raises
        ------
        PlanError
            If it cannot be read, or declares something else.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig"))["declared"])
        except KeyError:
            raise PlanError(f"{path} has no table [declared]") from None
        except ValidationError as error:
            raise PlanError([(f"declared.{path}", sentence) for path, sentence in problems_of(cls, error)]) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PlanError(
                f"{path} cannot be read as TOML: {reason}; give a .toml file with a table [declared], as plans have"
            ) from error
