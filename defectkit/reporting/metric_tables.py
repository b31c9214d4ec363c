"""The numbers of ``metrics.json`` as rows that a person can read."""

from collections.abc import Mapping
from typing import Any

from defectkit.reporting.glossary import GLOSSARY, SECTION_TITLES

NO_VALUE = "–"  # noqa: RUF001 (an en dash is what a table shows for no value)


def metric_tables(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return (title, rows) of each section, a row being name, value and explanation."""
    sections = []
    for section, entries in GLOSSARY.items():
        rows = []
        values = metrics.get(section) or {}
        # Numbers that the glossary does not know are shown too, under their own name.
        unknown = [key for key in values if key not in entries]
        for key in [*(key for key in entries if key in values), *unknown]:
            name, meaning = entries.get(key, (key, ""))
            if "{}" in name:
                rows += [
                    (name.replace("{}", part), format_value(value), meaning)
                    for part, value in (values[key] or {}).items()
                ]
            else:
                rows.append((name, format_value(values[key]), meaning))
        if rows:
            sections.append((SECTION_TITLES[section], rows))
    return sections


def format_value(value: Any) -> str:
    """Return a value of ``metrics.json`` or ``run.json`` as text for people."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size = abs(value)
        if 0 < size < 0.01:
            return f"{value:.2g}"
        return f"{value:.3f}" if size < 10 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        if {"value", "low", "high"} <= value.keys():
            count = value.get("found", value.get("count"))
            counts = "" if count is None else f"{count} of {value['total']}, "
            return counts + format_rate(value)
        return ", ".join(f"{name} {format_value(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return str(value)


def format_rate(rate: Mapping[str, Any]) -> str:
    """Return ``{value, low, high}`` as percent with its interval."""
    if rate["value"] is None:
        return NO_VALUE
    low, high = 100 * rate["low"], 100 * rate["high"]
    return f"{format_percent(rate['value'])} (95 % interval {low:.1f} to {high:.1f} %)"


def format_percent(fraction: float | None) -> str:
    """Return a fraction in [0, 1] as percent."""
    return NO_VALUE if fraction is None else f"{100 * fraction:.1f} %"
