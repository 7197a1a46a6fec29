"""Scenes as lazy arrays, and arrays as scenes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.base import tokenize

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.source import RasterHints, RasterSource, SceneReadError, Shaped, fingerprint_of
from geoseg.typing import Array, BoolArray

__all__ = ["ArrayScene", "scene_arrays"]


def scene_arrays(scene: RasterSource, chunks: tuple[int, int]) -> tuple[da.Array, da.Array | None]:
    """Lazy pixels and validity of a scene.

    Parameters
    ----------
    scene
        A file, an array or another source.
    chunks
        (height, width) of a chunk in pixels; all bands are in one chunk.

    Returns
    -------
    dask array (C, H, W), dask array bool (H, W) or None
        None where every pixel is valid.
    """
    # Written as a graph and not by da.map_blocks, for each task needs its own window.
    rows, cols = normalize_chunks(chunks, scene.geobox.shape)
    # By what the scene holds: a file written anew under the same name is another array.
    token = tokenize(scene.fingerprint(), scene.geobox.transform, scene.geobox.shape, chunks)

    def build(name: str, read: Any, lead: tuple[int, ...], dtype: Any) -> da.Array:
        graph = {}
        for i, row in enumerate([0, *accumulate(rows[:-1])]):
            for j, col in enumerate([0, *accumulate(cols[:-1])]):
                window = Window(row_off=row, col_off=col, height=rows[i], width=cols[j])
                graph[(name, *(0,) * len(lead), i, j)] = (read, scene, window)
        return da.Array(graph, name, (*((n,) for n in lead), rows, cols), dtype=dtype)

    image = build(f"scene-{token}", _read, (scene.count,), np.dtype(scene.dtype))
    valid = build(f"valid-{token}", _read_valid, (), bool) if scene.has_validity else None
    return image, valid


def _read(scene: RasterSource, window: Window) -> Array:
    return scene.read(window)


def _read_valid(scene: RasterSource, window: Window) -> BoolArray:
    return scene.read_valid(window)


@dataclass(frozen=True)
class ArrayScene(Shaped):
    """An array (numpy or dask) that is read by window like a file.

    Attributes
    ----------
    image
        (C, H, W).
    valid
        bool (H, W), True = data, or None.
    geobox
        Where it lies.
    name
        What to call it.
    acquired
        Acquisition date where known.
    called
        What the array calls its bands; empty where it does not.
    """

    image: Any
    valid: Any
    geobox: GeoBox
    name: str = "array"
    acquired: str | None = None
    called: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Its name: it has no file."""
        return self.name

    @property
    def bands(self) -> tuple[int, ...]:
        """All of them, from 1."""
        return tuple(range(1, int(self.image.shape[0]) + 1))

    @property
    def dtype(self) -> str:
        """Of the pixels."""
        return str(self.image.dtype)

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid."""
        return self.valid is not None

    @property
    def nodata(self) -> float | None:
        """None: ``valid`` says where data are missing."""
        return None

    @property
    def alpha(self) -> int | None:
        """None, as for :attr:`nodata`."""
        return None

    @property
    def file_block(self) -> tuple[int, int]:
        """Pixels that are fetched together."""
        return 512, 512

    @property
    def offset(self) -> tuple[int, int]:
        """An array begins where it begins."""
        return 0, 0

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window."""
        return _compute(self.image[:, window.rows, window.cols])

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        if self.valid is None:
            return np.ones((window.height, window.width), bool)
        return _compute(self.valid[window.rows, window.cols])

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`."""
        return self.read(window), self.read_valid(window)

    def hints(self) -> RasterHints:
        """An array's values are what they are."""
        return RasterHints(scale=1.0, descriptions=("",) * self.count, class_names=())

    def files(self) -> list[Path]:
        """None: what a dask array reads is not known."""
        return []

    def facts(self) -> dict[str, Any]:
        """Nothing is stored."""
        return {}

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """None: an array has no storage blocks to look at."""
        return None

    def fingerprint(self) -> str:
        """Of the array's bytes, or of the dask graph's name."""
        names = []
        # The bytes of a dask array are only known when it is computed; its name stands for its graph.
        for part in (self.image, self.valid):
            if isinstance(part, np.ndarray):
                names.append(hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest())
            else:
                names.append(str(getattr(part, "name", None)))
        return fingerprint_of((names, self.geobox.transform, self.geobox.shape))


def _compute(part: Any) -> Any:
    if isinstance(part, np.ndarray):
        return part
    # Called from threads of a run: with all CPUs each, their tasks would outnumber the CPUs many times.
    with dask.config.set(scheduler="threads", num_workers=2):
        return np.asarray(part.compute())
