"""Renderings of a result: the page and the terminal summary. Nothing here can train a model or ask one."""

from __future__ import annotations

from miaudit.report.html import render, write
from miaudit.report.text import summary

__all__ = ["render", "summary", "write"]
