"""The evidence file: what an assessor looks for, in ten groups of fields, from a result, a decision and what people declare."""

from __future__ import annotations

from miaudit.report.annex.fields import Annex, Group, annex
from miaudit.report.annex.rendering import html, markdown
from miaudit.report.annex.standards import STANDARDS, Standard

__all__ = ["STANDARDS", "Annex", "Group", "Standard", "annex", "html", "markdown"]
