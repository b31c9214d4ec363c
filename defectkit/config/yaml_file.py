"""YAML 1.2 as configurations are written: ``1e-3`` is a number and ``off`` a word."""

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import Node

from defectkit.errors import ConfigError, shown

MAX_YAML_BYTES = 2**16
"""64 KiB; no configuration is nearly as large, and a larger YAML takes seconds."""
YAML_ERRORS = (YAMLError, ValueError, LookupError, AssertionError)
"""What ruamel.yaml raises for text that is not valid, such as ``!!int`` before a word."""


def parse_yaml(text: str, *, name: str) -> dict[str, Any]:
    """Return the mapping in ``text``, empty for an empty text.

    ``name`` says in messages where the text came from.

    Raises:
        ConfigError: the text is too long, no valid YAML or no mapping, a key is repeated or no
            text, or there is an alias, a merge key or a directive.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ConfigError(f"{name} has more than {MAX_YAML_BYTES:,} characters.")
    if text.startswith("%") or "\n%" in text:
        raise ConfigError(f"{name}: directives such as %YAML are not read; remove the line.")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    try:
        content = yaml.load(text)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply.") from None
    except YAML_ERRORS as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{name} must have 'key: value' lines but has a {type(content).__name__}."
        )
    return content


def format_yaml(content: Mapping[str, Any]) -> str:
    """Return ``content`` as YAML in its own order, as ``parse_yaml`` reads it."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


class _Composer(Composer):
    """Refuses aliases: a few lines of them stand for gigabytes."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.parser.check_event(AliasEvent):
            line = self.parser.peek_event().start_mark.line + 1
            raise ConfigError(f"line {line}: aliases such as *name are not read; repeat the value.")
        node: Node | None = super().compose_node(parent, index)
        return node


class _Constructor(SafeConstructor):
    """Refuses keys that are repeated or not words, and merge keys, which hide repeated ones.

    Numbers such as 010 are refused too: YAML 1.1 reads 8 and YAML 1.2 reads 10.
    """

    def construct_yaml_int(self, node: Any) -> Any:
        if re.match(r"[+-]?0[0-9_]", node.value):
            line = node.start_mark.line + 1
            raise ConfigError(
                f"line {line}: {shown(node.value)} begins with 0, which some programs read as "
                "octal. Write the number without it, or 0o17 for an octal one."
            )
        return super().construct_yaml_int(node)

    def flatten_mapping(self, node: Any) -> Any:
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: the merge key << is not read; repeat the values.")
        return super().flatten_mapping(node)

    def check_mapping_key(
        self, _node: Node, key_node: Node, mapping: Any, key: Any, _value: Any
    ) -> bool:
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            named = list(key) if isinstance(key, tuple) else key
            raise ConfigError(f"line {line}: a key must be text but is {shown(named)}.")
        if key in mapping:
            raise ConfigError(f"line {line}: the key {shown(key)} is repeated; remove one of them.")
        return True


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)
