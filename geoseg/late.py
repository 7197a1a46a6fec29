"""What is loaded late: names of a package when they are asked for, a module when another one comes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["offer_late", "when_imported"]


def offer_late(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are loaded when they are first asked for.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        Public name -> where it is: "module", or "module:name" where it has another name there.

    Examples
    --------
    >>> __getattr__, __dir__ = offer_late("geoseg", {"BadInput": "geoseg.errors:InputError"})
    >>> __getattr__("BadInput").__name__
    'InputError'
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Not kept in the package: importlib has the module, and a test may put another in its place.
        home, _, other = homes[name].partition(":")
        return getattr(importlib.import_module(home), other or name)

    return load, lambda: sorted({*vars(sys.modules[package]), *homes})


def when_imported(name: str, follower: str) -> None:
    """Import ``follower`` as soon as the module ``name`` is there: now, or right after its own import.

    xarray has no entry points for accessors, so a package has to be loaded after it to add one.
    """
    if name in sys.modules:
        importlib.import_module(follower)
    else:
        sys.meta_path.insert(0, _Watch(name, follower))


class _Watch:
    """Finds what the other finders find, and steps aside once its module has come.

    Being asked is not enough to step aside: libraries look whether a module is there without loading it.
    """

    def __init__(self, name: str, follower: str) -> None:
        self._name, self._follower = name, follower
        self._asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that imports the follower afterwards."""
        if fullname != self._name or self._asking:
            return None
        # find_spec below asks all finders, this one among them.
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader, self)  # type: ignore[assignment]
        return spec

    def came(self) -> None:
        """The module is there: import the follower."""
        # A module that is loaded anew comes twice; the follower has been imported then.
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            importlib.import_module(self._follower)


class _Then:
    """A module's own loader, which tells the watch when it is done."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self._loader, self._watch = loader, watch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then tell the watch."""
        # The loader that the module itself shows must be its own: importlib.resources and pickles go by it.
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._watch.came()
