"""Small annotated projects for the tests of graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image

from geoseg.config import parse_settings
from geoseg.dtl.catalog import registry
from geoseg.dtl.pixels import FilePixels
from geoseg.dtl.sample import Listing, Origin, Sample
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta, color_of
from geoseg.projects.figures.types import Bitmap, Figure, Line, Point, Polygon, Rectangle
from geoseg.projects.writer import ProjectWriter

TUTORIALS = Path(__file__).parents[2] / "examples" / "tutorials"

#: One object of each shape on a 60 x 40 image, away from its edges.
FIGURES: dict[str, Figure] = {
    "polygon": Polygon(
        np.array([[8.0, 6], [40, 8], [36, 30], [12, 26]]), (np.array([[18.0, 12], [26, 12], [24, 20]]),)
    ),
    "bitmap": Bitmap((20, 5), np.random.default_rng(3).random((14, 22)) < 0.6),
    "rectangle": Rectangle(5, 9, 25, 33),
    "line": Line(np.array([[4.0, 30], [20, 12], [50, 20]])),
    "point": Point(33, 22),
}

MakeProject = Callable[..., Path]


def write_project(
    root: Path,
    name: str,
    names: Sequence[str] = ("a.png",),
    *,
    size: tuple[int, int] = (40, 60),
    shapes: Sequence[str] = ("polygon",),
    titles: Sequence[str] | None = None,
    tags: Callable[[int], Sequence[str]] = lambda index: (),
    dataset: str = "ds",
    empty: bool = False,
    legacy: bool = False,
) -> Path:
    """A project of random images, each with one object of each of ``shapes``."""
    titles = list(titles if titles is not None else shapes)
    classes = tuple(ClassMeta(t, s, color_of(t)) for t, s in zip(titles, shapes, strict=True))
    known = {tag for index in range(len(names)) for tag in tags(index)}
    meta = ProjectMeta(classes, tuple(TagMeta(tag) for tag in sorted(known)))
    objects = tuple(LabeledObject(t, FIGURES[s]) for t, s in zip(titles, shapes, strict=True))
    height, width = size
    with ProjectWriter(root / name, meta, legacy=legacy) as writer:
        for index, file in enumerate(names):
            pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), np.uint8)
            annotation = Annotation(
                height, width, () if empty else objects, tuple(Tag(tag) for tag in tags(index))
            )
            writer.add(
                dataset, file, annotation, lambda path, pixels=pixels: Image.fromarray(pixels).save(path)
            )
    return root / name


def data_layer(project: str, dst: str = "$in", mapping: object = "default") -> dict[str, object]:
    """A data layer that takes a whole project."""
    return {"action": "data", "src": [f"{project}/*"], "dst": dst, "settings": {"classes_mapping": mapping}}


def save_layer(*src: str, name: str = "out") -> dict[str, object]:
    """A save layer."""
    return {"action": "supervisely", "src": list(src), "dst": name, "settings": {}}


def step(
    action: str, settings: dict[str, object], src: str = "$in", dst: object = "$out"
) -> dict[str, object]:
    """A layer between."""
    return {"action": action, "src": [src], "dst": dst, "settings": settings}


@dataclass
class ArraySource:
    """An image in memory; counts what is read."""

    pixels: np.ndarray
    box: GeoBox
    nodata: int | None = None

    def __post_init__(self) -> None:
        self.windows: list[Window] = []

    @property
    def geobox(self) -> GeoBox:
        return self.box

    def read(self, window: Window) -> np.ndarray:
        self.windows.append(window)
        return self.pixels[:, window.rows, window.cols].copy()

    def read_valid(self, window: Window) -> np.ndarray:
        inside = self.pixels[:, window.rows, window.cols]
        return np.ones(inside.shape[1:], bool) if self.nodata is None else (inside != self.nodata).any(axis=0)


def array_sample(
    pixels: np.ndarray,
    objects: Sequence[LabeledObject] = (),
    *,
    tags: Sequence[str] = (),
    box: GeoBox | None = None,
    name: str = "a.png",
    nodata: int | None = None,
    root: Path = Path(),
) -> Sample:
    """A sample of an array (C, H, W)."""
    height, width = pixels.shape[1:]
    source = ArraySource(pixels, box or GeoBox(Affine.identity(), None, height, width), nodata)
    annotation = Annotation(height, width, tuple(objects), tuple(Tag(tag) for tag in tags))
    return Sample(
        FilePixels(source),
        annotation,
        Origin("p", "ds", name, b"image", 0, Listing(["a"]), root),
        "p__ds",
        b"key",
    )


def apply(
    action: str, settings: dict[str, object], sample: Sample, seed: int = 0
) -> list[tuple[int, Sample]]:
    """What a layer makes of a sample."""
    kind = registry.find(action)
    assert kind is not None, action
    parsed = parse_settings(kind.settings, settings)
    return list(kind.apply(sample, parsed, np.random.default_rng(seed)))


def only(action: str, settings: dict[str, object], sample: Sample, seed: int = 0) -> Sample:
    """The one sample a layer makes."""
    ((_, out),) = apply(action, settings, sample, seed)
    return out


def drawn(sample: Sample, *titles: str) -> np.ndarray:
    """Where a sample's objects (of some classes) are, bool (H, W)."""
    names = titles or {item.class_name for item in sample.objects}
    return sample.target(dict.fromkeys(names, 1)) > 0


def tutorial_graph(name: str) -> Path:
    """The file of a tutorial's graph, such as ``roads_0``: the step it is of the tutorial."""
    tutorial, step = name.split("_")
    return TUTORIALS / tutorial / f"{step}_dtl.json"
