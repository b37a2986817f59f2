"""YAML of a file that anyone may have written."""

from __future__ import annotations

from typing import Any


def load_yaml(text: str) -> Any:
    """The value of a YAML text of plain values, lists and tables.

    Aliases are refused: ten lines of them can stand for more than a memory holds, and whatever
    prints such a value never ends.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: it is no such text.
    """
    import yaml  # type: ignore[import-untyped]

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                text = "an alias (*name), which is not taken here"
                raise yaml.composer.ComposerError(None, None, text, self.peek_event().start_mark)
            return super().compose_node(parent, index)

    return yaml.load(text, Loader=Plain)
