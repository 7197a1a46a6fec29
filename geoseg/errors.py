"""The tree of errors: what went wrong decides the exit status of the command line.

Every error is a :class:`GeosegError` and also the builtin that a caller expects, so both
``except GeosegError`` and ``except ValueError`` work.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "GeosegError",
    "InputError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelError",
    "RunError",
    "SceneError",
    "StateMismatchError",
]


class GeosegError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code: int = 1


class InputError(GeosegError, ValueError):
    """Something the user gave is wrong (exit status 2)."""

    exit_code = 2


class MissingFileError(InputError, FileNotFoundError):
    """A file that was asked for is not there (exit status 2)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SceneError(InputError):
    """A scene that can't be opened, or lacks what was asked of it (exit status 2)."""


class ModelError(InputError):
    """A bundle or a network that can't be loaded or does not fit the scene (exit status 2)."""


class ConfigError(InputError):
    """Settings that are refused; the message carries the JSON path (exit status 2)."""


class StateMismatchError(InputError):
    """Kept state belongs to another scene, model or set of options (exit status 2).

    Attributes
    ----------
    differing
        Names of what differs.
    """

    def __init__(self, message: str, differing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differing = differing

    # Exceptions are pickled with their message alone: from another process it would come without the names.
    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.differing)


class MissingDependencyError(InputError, ImportError):
    """An optional package is needed; the message names the extra to install (exit status 2)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RunError(GeosegError, RuntimeError):
    """A run that could not finish; what was done is kept (exit status 1)."""

    exit_code = 1
