"""The registry of layers: one settings class and one function each.

A layer is a function ``(sample, settings, rng)`` that yields ``(branch, sample)`` pairs. Its settings class
says what it does to classes, sizes and counts, so that a graph can be checked before a pixel is read. Other
packages add layers by an entry point of the group ``geoseg.dtl_layers`` that names a module which registers
them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np

from geoseg.config import Settings
from geoseg.dtl.pixels import Shape
from geoseg.dtl.sample import Sample
from geoseg.errors import ConfigError
from geoseg.projects.figures import ProjectMeta
from geoseg.projects.figures.types import ShapeName

__all__ = [
    "ENTRY_POINTS",
    "Count",
    "LayerFunction",
    "LayerKind",
    "LayerSettings",
    "Registry",
    "layer",
    "registry",
]

#: Group of entry points that name modules with further layers.
ENTRY_POINTS = "geoseg.dtl_layers"

Output: TypeAlias = Iterator[tuple[int, Sample]]
LayerFunction: TypeAlias = Callable[[Sample, Any, np.random.Generator], Output]
#: Least and most.
Count: TypeAlias = tuple[int, int | None]
Role: TypeAlias = Literal["data", "step", "save"]
F = TypeVar("F", bound=LayerFunction)


class LayerSettings(Settings):
    """Base of all layers' settings; the methods tell a plan what the layer does.

    Attributes
    ----------
    branches
        Number of names in ``dst``.
    same_every_epoch
        Its draws do not change from epoch to epoch.
    """

    branches: ClassVar[int] = 1
    same_every_epoch: ClassVar[bool] = False

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        """Classes and tags that leave the layer, of those that enter it.

        Raises
        ------
        InputError
            The layer can't work with these classes.
        """
        return meta

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        """Shapes that the objects of a class must have, by title; of classes left out any will do."""
        return {}

    def plan_titles(self) -> Sequence[str]:
        """Titles of classes that it looks for; where one never arrives, it finds nothing."""
        return tuple(self.plan_needs())

    def plan_refusal(self, shape: Shape) -> str | None:
        """Why samples of a size will fail in this layer; None where they won't, as far as that is known."""
        return None

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        """Size of the samples that leave the layer, None where it is not known before the run."""
        return shape

    def plan_count(self, shape: Shape | None) -> Count:
        """Least and most samples that leave the layer for one that enters; None where there is no bound."""
        return 1, 1


@dataclass(frozen=True)
class LayerKind:
    """A registered layer.

    Attributes
    ----------
    name
        Its action.
    aliases
        Other spellings.
    settings
        Settings class.
    apply
        The function.
    role
        Whether it begins a graph, ends it, or stands between.
    pixels
        Whether it may change pixels.
    """

    name: str
    settings: type[LayerSettings]
    apply: LayerFunction
    aliases: tuple[str, ...] = ()
    role: Role = "step"
    pixels: bool = False

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.apply.__doc__ or "").strip().partition("\n")[0]


class Registry:
    """Layers by action; those of other packages are loaded when an action is first asked for."""

    def __init__(self) -> None:
        self._kinds: dict[str, LayerKind] = {}
        self._extended = False

    def add(self, kind: LayerKind) -> None:
        """Register a layer under its name and aliases.

        Raises
        ------
        ConfigError
            A name is taken by another layer.
        """
        for name in (kind.name, *kind.aliases):
            known = self._kinds.get(name)
            # The same module may be imported twice, by a test or a notebook.
            if known is not None and known.apply.__module__ != kind.apply.__module__:
                raise ConfigError(
                    f"action of a layer must be unique, got {name!r} from {kind.apply.__module__} and "
                    f"{known.apply.__module__}. Rename one of them."
                )
            self._kinds[name] = kind

    def find(self, action: str) -> LayerKind | None:
        """The layer of this action."""
        self._extend()
        return self._kinds.get(action)

    def kinds(self) -> tuple[LayerKind, ...]:
        """All layers, by name."""
        self._extend()
        # By name once more: a layer with aliases stands there several times.
        return tuple(
            sorted({kind.name: kind for kind in self._kinds.values()}.values(), key=lambda k: k.name)
        )

    def actions(self) -> tuple[str, ...]:
        """All actions, other spellings among them."""
        self._extend()
        return tuple(sorted(self._kinds))

    def _extend(self) -> None:
        if self._extended:
            return
        # Before the loop: a module that registers layers asks the registry, too.
        self._extended = True
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                point.load()
            except Exception as error:
                raise ConfigError(
                    f"layers of {point.value} can't be loaded: {error}. Update or remove it."
                ) from error


#: The layers there are.
registry = Registry()


def layer(
    name: str, settings: type[LayerSettings], *aliases: str, role: Role = "step", pixels: bool = False
) -> Callable[[F], F]:
    """Register a function as a layer.

    Parameters
    ----------
    name
        Action in the graph.
    settings
        Settings class.
    aliases
        Other spellings of the action.
    pixels
        Whether the layer may change pixels.
    """

    def register(function: F) -> F:
        registry.add(LayerKind(name, settings, function, aliases, role, pixels))
        return function

    return register
