"""The table of all settings on their page of the documentation."""

import json

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from defectkit.config.sections import Config


def reference() -> str:
    """Return the reference of all settings as Markdown: key, default, meaning."""
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            rows.append(f"| **`{name}`** | | {_one_line(section.__doc__)} |")
            rows += [_row(f"{name}.{key}", value) for key, value in section.model_fields.items()]
        else:
            rows.append(_row(name, field))
    return "\n".join(rows) + "\n"


def _row(key: str, field: FieldInfo) -> str:
    default = json.dumps(field.default).strip('"')  # lists and null as in YAML
    return f"| `{key}` | `{default}` | {_one_line(field.description)} |"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
