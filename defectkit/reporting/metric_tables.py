"""The numbers of ``metrics.json`` as rows that a person can read."""

from collections.abc import Mapping
from typing import Any

from defectkit.reporting.glossary import GLOSSARY, SECTION_TITLES

NONE = "–"  # noqa: RUF001 (an en dash is what a table shows for no value)


def metric_tables(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return (title, rows) of each section, a row being name, value and explanation."""
    sections = []
    for section, words in GLOSSARY.items():
        rows = []
        values = metrics.get(section) or {}
        # Numbers that the glossary does not know are shown too, under their own name.
        unknown = [key for key in values if key not in words]
        for key in [*(key for key in words if key in values), *unknown]:
            name, meaning = words.get(key, (key, ""))
            if "{}" in name:
                rows += [
                    (name.replace("{}", part), show(value), meaning)
                    for part, value in values[key].items()
                ]
            else:
                rows.append((name, show(values[key]), meaning))
        if rows:
            sections.append((SECTION_TITLES[section], rows))
    return sections


def show(value: Any) -> str:
    """Return any value of ``metrics.json`` or ``run.json`` as a person wants to read it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size = abs(value)
        if 0 < size < 0.01:
            return f"{value:.2g}"
        return f"{value:.3f}" if size < 10 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        if {"value", "low", "high"} <= value.keys():
            counts = f"{value['found']} of {value['total']}, " if "found" in value else ""
            return counts + show_rate(value)
        return ", ".join(f"{name} {show(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    return str(value)


def show_rate(rate: Mapping[str, Any]) -> str:
    """Return ``{value, low, high}`` as percent with its interval."""
    if rate["value"] is None:
        return NONE
    low, high = 100 * rate["low"], 100 * rate["high"]
    return f"{show_percent(rate['value'])} (95 % interval {low:.1f} to {high:.1f} %)"


def show_percent(share: float | None) -> str:
    """Return a share in [0, 1] as percent."""
    return NONE if share is None else f"{100 * share:.1f} %"
