"""Renderings of a result: the page, and for the terminal a first screen and all figures. Nothing here asks a model."""

from __future__ import annotations

from miaudit.report.page import notebook, render, write
from miaudit.report.screen import printed, summary
from miaudit.report.text import full

__all__ = ["full", "notebook", "printed", "render", "summary", "write"]
