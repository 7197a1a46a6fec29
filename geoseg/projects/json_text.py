"""JSON as text that any file can hold."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_text"]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON, readable where it can be: only text that is no Unicode is escaped.

    Examples
    --------
    >>> json_text(["caf\\xe9"]) == '["caf\\xe9"]', json_text(["half\\ud83d"])
    (True, '["half\\\\ud83d"]')
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
