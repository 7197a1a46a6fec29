"""The version of the package, for modules that must not load it whole."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
