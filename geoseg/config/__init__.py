"""Typed settings: how JSON and TOML become frozen classes, and the settings of a run."""

from __future__ import annotations

from geoseg.config.settings import Settings, format_path, parse_settings, read_document

__all__ = ["Settings", "format_path", "parse_settings", "read_document"]
