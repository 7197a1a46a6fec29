"""Configs of inference: two dialects, parsed into one settings class.

The first has ``mode.source``, ``model_classes``, ``existing_objects`` and ``gpu_devices``; it is the
tutorials' of 2018. The second has ``model.gpu_device`` and puts ``name`` and ``model_classes`` into ``mode``;
objects that are there always stay. A config of neither mark, such as ``{}``, is of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo, field_validator

from geoseg.config import Settings, parse_settings, read_document
from geoseg.config.amounts import Sides
from geoseg.errors import ConfigError
from geoseg.typing import PathLike

__all__ = [
    "Boxes",
    "FullImage",
    "InferenceSettings",
    "Roi",
    "Selection",
    "SlidingWindow",
    "read_inference",
]

_ALL: Final = "__all__"
# Strict: "50" or 50.0 in a config is more likely a slip than a wish.
Side = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Overlap = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Gpu = Annotated[int, Field(strict=True, ge=0)]


def _titles(value: Any) -> Any:
    listed = isinstance(value, list | tuple) and all(isinstance(title, str) for title in value)
    if value != _ALL and not listed:
        raise ValueError(f'must be a list of titles or "{_ALL}", got {value!r}')
    return value


Titles = Annotated[tuple[str, ...] | Literal["__all__"], BeforeValidator(_titles)]


class Selection(Settings):
    """Some classes, and what is put behind their titles in the result.

    Examples
    --------
    >>> chosen = Selection(save_classes=["road"], add_suffix="_unet")
    >>> chosen.title("road"), chosen.title("bg")
    ('road_unet', None)
    """

    save_classes: Titles = _ALL
    add_suffix: str = ""

    def title(self, name: str) -> str | None:
        """Title in the result; None: objects of this class are left out."""
        chosen = self.save_classes == _ALL or name in self.save_classes
        return f"{name}{self.add_suffix}" if chosen else None

    def unknown(self, names: tuple[str, ...]) -> list[str]:
        """Titles it lists that are not among ``names``."""
        return [] if self.save_classes == _ALL else [t for t in self.save_classes if t not in names]


class FullImage(Settings):
    """Each image in one piece."""

    source: ClassVar = "full_image"


class Roi(Settings):
    """A part of each image."""

    source: ClassVar = "roi"
    bounds: Sides = Sides()
    save: StrictBool = False
    class_name: str = "inference_roi"


class Boxes(Settings):
    """The boxes of objects, with a margin."""

    source: ClassVar = "bboxes"
    from_classes: Titles = _ALL
    padding: Sides = Sides()
    save: StrictBool = False
    add_suffix: str = "_input_bbox"


class Extent(Settings):
    """Sides of a window in pixels."""

    width: Side = 128
    height: Side = 128


class Shared(Settings):
    """Pixels that neighboring windows share at least."""

    x: Overlap = 0
    y: Overlap = 0


class SlidingWindow(Settings):
    """Windows over each image, whose probabilities are averaged."""

    source: ClassVar = "sliding_window"
    window: Extent = Extent()
    min_overlap: Shared = Shared()
    save: StrictBool = False
    class_name: str = "sliding_window"

    @field_validator("min_overlap")
    @classmethod
    def _smaller_than_window(cls, shared: Shared, info: ValidationInfo) -> Shared:
        window = info.data.get("window")
        if window is not None and (shared.x >= window.width or shared.y >= window.height):
            raise ValueError(
                f"must be smaller than the window of {window.width} x {window.height}, "
                f"got {shared.x} along x and {shared.y} along y"
            )
        return shared


Mode: TypeAlias = FullImage | Roi | Boxes | SlidingWindow
_MODES: dict[str, type[Mode]] = {mode.source: mode for mode in (FullImage, Roi, Boxes, SlidingWindow)}


class InferenceSettings(Settings):
    """What a config asks for, whatever its dialect."""

    mode: FullImage | Roi | Boxes | SlidingWindow = FullImage()
    """Where the network looks."""
    model: Selection = Selection(add_suffix="_unet")
    """Classes of the network that the result keeps."""
    existing: Selection = Selection(save_classes=())
    """Classes of the project that the result keeps."""
    gpu: int | None = None
    """Number of the GPU that it names."""


class _Parted(Settings):
    """The first dialect but for its mode."""

    gpu_devices: tuple[Gpu] = (0,)
    model_classes: Selection = Selection(add_suffix="_unet")
    existing_objects: Selection = Selection(save_classes=())
    mode: dict[str, Any] = Field(default_factory=dict)


class _Gpu(Settings):
    gpu_device: Gpu = 0


class _Nested(Settings):
    """The second dialect but for its mode."""

    model: _Gpu = _Gpu()
    mode: dict[str, Any] = Field(default_factory=dict)


def read_inference(config: PathLike | Mapping[str, Any] | Any) -> InferenceSettings:
    """Read a config of inference.

    Parameters
    ----------
    config
        A JSON file, or what it holds.

    Raises
    ------
    MissingFileError
        No such file.
    ConfigError
        Unknown keys, impossible values, or two dialects in one, each with its JSON path.

    Examples
    --------
    >>> read_inference({}).mode.source
    'full_image'
    >>> read_inference({"mode": {"source": "roi", "bounds": {"left": "10%"}}}).mode.bounds.left
    '10%'
    """
    source = "config"
    if isinstance(config, Mapping):
        document: Any = dict(config)
    else:
        source, document = str(config), read_document(config)
    if not isinstance(document, Mapping):
        raise ConfigError(f"{source}: $: must be an object, got {type(document).__name__}.")
    mode = document.get("mode", {})
    # Two dialects are in use: one calls the mode "source", the other "name" and puts the classes inside it.
    named = isinstance(mode, Mapping) and "name" in mode
    if not named and "model" not in document:
        parted = parse_settings(_Parted, _with_suffix(document), source=source)
        return InferenceSettings(
            mode=_parse_mode(parted.mode, "source", source),
            model=parted.model_classes,
            existing=parted.existing_objects,
            # The default is no wish: without the key, whatever device there is will do.
            gpu=parted.gpu_devices[0] if "gpu_devices" in document else None,
        )
    if isinstance(mode, Mapping) and "source" in mode:
        mark = "mode.name" if named else "model"
        raise ConfigError(
            f"{source}: $.mode.source: must not stand beside {mark}, which is of another dialect. "
            "Give mode.name, with model_classes inside mode, or leave the other out."
        )
    nested = parse_settings(_Nested, document, source=source)
    rest = dict(nested.mode)
    classes = rest.pop("model_classes", {})
    # By itself, so that its mistakes are told at the place where the config has them.
    chosen = parse_settings(Selection, classes, source=source, at=("mode", "model_classes"))
    parsed = _parse_mode(rest, "name", source)
    # In the second dialect only whole images add a suffix by themselves.
    if isinstance(parsed, FullImage) and "add_suffix" not in classes:
        chosen = chosen.model_copy(update={"add_suffix": "_unet"})
    gpu = nested.model.gpu_device if "gpu_device" in nested.model.model_fields_set else None
    return InferenceSettings(mode=parsed, model=chosen, existing=Selection(), gpu=gpu)


def _with_suffix(document: Mapping[str, Any]) -> dict[str, Any]:
    """A config of the first dialect, with the defaults of each object it names in part."""
    # An object that is named in part replaces the whole default, which pydantic would fill with those of the
    # class.
    full = dict(document)
    defaults: dict[str, dict[str, Any]] = {
        "model_classes": {"add_suffix": "_unet"},
        "existing_objects": {"save_classes": []},
    }
    for key, default in defaults.items():
        if isinstance(full.get(key), Mapping):
            full[key] = {**default, **full[key]}
    return full


def _parse_mode(mode: Mapping[str, Any], key: str, source: str) -> Mode:
    rest = dict(mode)
    name = rest.pop(key, FullImage.source)
    if not isinstance(name, str) or name not in _MODES:
        raise ConfigError(f"{source}: $.mode.{key}: must be one of {', '.join(_MODES)}, got {name!r}.")
    return parse_settings(_MODES[name], rest, source=source, at=("mode",))
