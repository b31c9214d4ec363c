"""From a configuration to YAML."""

from pathlib import Path

from defectkit.config.sections import Config
from defectkit.config.yaml_file import format_yaml
from defectkit.files import write_text


def dump_config(config: Config) -> str:
    """Return the whole resolved configuration as YAML."""
    return format_yaml(config.model_dump(mode="json"))


def save_config(config: Config, path: Path) -> None:
    """Write the whole resolved configuration beside a run's results."""
    write_text(path, dump_config(config))
