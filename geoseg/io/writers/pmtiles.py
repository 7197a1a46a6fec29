"""PMTiles: footprints as vector tiles in one file, for maps in a browser.

GDAL cuts the tiles. Objects lie in every tile that they touch, and each zoom level has its own, so this is a
format to look at, not to count or measure.

References
----------
PMTiles specification 3, https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md
"""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import InputError, RunError
from geoseg.geo.geobox import GeoBox, is_earth
from geoseg.io.writers.base import MARK, PROVENANCE, FootprintBatch
from geoseg.io.writers.lonlat import LonLat
from geoseg.io.writers.ogr import OgrWriter
from geoseg.vector.ragged import ragged_polygons

__all__ = ["PMTilesHeader", "PMTilesWriter", "check_pmtiles", "read_header", "tile_zooms", "zooms_of"]

#: Meters around the Earth on a web map, and units along a side of a tile.
_AROUND_M, _EXTENT = 40_075_016.686, 4096
#: Levels of which footprints have tiles; a map shows the finest one at any closer look. At the coarsest a
#: house of 30 pixels is about one of the screen's.
_LEVELS, _FINEST = 6, 22
#: For scenes whose sampling distance is not known: that of 0.3 m at the equator, rounded up.
_ZOOMS = (11, 16)
#: Bytes of a tile, packed, from which GDAL leaves out its smallest objects: four times its own limit, which
#: would do so in dense towns.
_MOST_BYTES = 2_000_000
#: That of the tiles.
_MAP = CRS.from_epsg(3857)
#: Latitude where it ends.
_MAP_END = math.degrees(math.atan(math.sinh(math.pi)))
_HEADER = struct.Struct("<7sB11Q6B4iB2i")
_GZIP, _VECTOR = 2, 1


@dataclass(frozen=True)
class PMTilesHeader:
    """What stands before the tiles.

    Attributes
    ----------
    zooms
        Least and greatest zoom level.
    bounds
        (west, south, east, north), degrees.
    metadata
        JSON object with ``name``, ``description``, ``vector_layers`` and the like.
    tiles
        Number of tiles that are there.
    """

    zooms: tuple[int, int]
    bounds: tuple[float, float, float, float]
    metadata: dict[str, Any]
    tiles: int


class PMTilesWriter(OgrWriter):
    """Vector tiles in the web's Mercator projection, with all attributes."""

    driver, suffix = "PMTiles", ".pmtiles"
    keeps_crs = False

    @classmethod
    def check_crs(cls, crs: CRS | None) -> None:
        """Refuse what is at no place on the Earth, and a GDAL without the driver."""
        if crs is None or not is_earth(crs):
            scene = "without a CRS" if crs is None else f"in {crs.name}"
            raise InputError(
                f"format must be one of gpkg, parquet, fgb, shp for a scene {scene}, got pmtiles, which is a "
                "map of the Earth."
            )
        import pyogrio

        if "w" not in pyogrio.list_drivers().get(cls.driver, ""):
            raise InputError(
                "format must be one that the installed GDAL writes, got pmtiles. Install pyogrio from PyPI "
                "(pip install --force-reinstall pyogrio), or GDAL 3.8 or newer with SQLite and GEOS."
            )

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the description in the metadata."""
        try:
            return read_header(path).metadata.get("description") == MARK
        except ValueError:
            return False

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """From the metadata."""
        found = read_header(path).metadata.get(PROVENANCE)
        return None if found is None else json.dumps(found, ensure_ascii=False)

    def _begin(self, staged: Path) -> None:
        least, greatest = self.options.zooms or _ZOOMS
        self.dataset_options = {
            "NAME": self.path.stem,
            "DESCRIPTION": MARK,
            "MINZOOM": str(least),
            "MAXZOOM": str(greatest),
            "MAX_SIZE": str(_MOST_BYTES),
        }
        # GDAL refuses to write a file without a tile, so it is asked only when there is something to write.
        self._staged = staged
        # Reprojected here: GDAL draws a polygon on the antimeridian around the whole Earth.
        self._lonlat = LonLat(self.crs, self.path)
        self._to_map = Transformer.from_crs(4326, _MAP, always_xy=True)

    def _stated(self, crs: CRS) -> str:
        return _MAP.to_wkt()

    def _put(self, batch: FootprintBatch) -> None:
        if not hasattr(self, "_thread"):
            super()._begin(self._staged)
        shapes, columns = FootprintBatch(self._lonlat.shapes(batch)).ragged, batch.columns
        bounds = shapes.bounds()
        # GDAL leaves them out without a word.
        if ((bounds[:, 1] >= _MAP_END) | (bounds[:, 3] <= -_MAP_END)).any():
            raise RunError(
                f"cannot show footprints beyond {_MAP_END:.2f} degrees north or south on a web map for "
                f"{self.path}. Leave out the format pmtiles."
            )
        # Parts at both ends of the map are features of their own: GDAL goes through all tiles of a feature's
        # bounds, which took a second for each house of 0.3 m pixels and ten for one of 0.04 m.
        if (around := bounds[:, 2] - bounds[:, 0] > 180).any():
            parts, rows = shapely.get_parts(shapes.geometries()[around], return_index=True)
            rows = np.concatenate([np.flatnonzero(~around), np.flatnonzero(around)[rows]])
            order = np.argsort(rows, kind="stable")
            shapes = ragged_polygons(np.concatenate([shapes.geometries()[~around], parts])[order])
            columns = {name: column[rows[order]] for name, column in columns.items()}
        xy = np.column_stack(self._to_map.transform(shapes.xy[:, 0], shapes.xy[:, 1]))
        super()._put(FootprintBatch(replace(shapes, xy=xy), columns))

    def _finish(self) -> None:
        if self.count:
            super()._finish()
            return
        self._staged.write_bytes(
            _without_tiles(self.path.stem, self.layer, self.schema, self.dataset_options)
        )
        self._check(self._staged)

    def _layer_metadata(self) -> dict[str, str] | None:
        return None  # of which GDAL keeps nothing here

    def _check(self, written: Path) -> None:
        """Add the provenance, and read each tile back."""
        if self.provenance is not None:
            _add_metadata(written, {PROVENANCE: json.loads(self.provenance)})
        check_pmtiles(written)


@dataclass(frozen=True)
class _Fields:
    """Sections of a file as (offset, bytes), and the bytes of its header."""

    root: tuple[int, int]
    metadata: tuple[int, int]
    leaves: tuple[int, int]
    tiles: tuple[int, int]
    count: int
    values: tuple[Any, ...]


def tile_zooms(geobox: GeoBox) -> tuple[int, int]:
    """Zoom levels for footprints of a scene: at the finest, a unit of a tile is at most half a pixel.

    Examples
    --------
    >>> from affine import Affine
    >>> utm = CRS.from_epsg(32645)
    >>> [tile_zooms(GeoBox(Affine(m, 0, 3.5e5, 0, -m, 3e6), utm, 9, 9)) for m in (10, 0.3, 0.05)]
    [(6, 11), (11, 16), (14, 19)]
    """
    ground, center = geobox.ground_resolution(), geobox.center_lonlat()
    if ground is None or center is None or min(ground) <= 0:
        return _ZOOMS
    return zooms_of(min(ground), center[1])


def zooms_of(meters: float, latitude: float = 0.0) -> tuple[int, int]:
    """Zoom levels for footprints of pixels of so many meters, at a latitude in degrees.

    Examples
    --------
    >>> zooms_of(0.3), zooms_of(0.3, 60)
    ((11, 16), (10, 15))
    """
    units = 2 * _AROUND_M * math.cos(math.radians(latitude)) / (_EXTENT * meters)
    greatest = min(_FINEST, max(0, math.ceil(math.log2(max(units, 1)))))
    return max(0, greatest - _LEVELS + 1), greatest


def check_pmtiles(path: Path) -> None:
    """Read each tile once: packed, it has a checksum.

    Raises
    ------
    OSError
        A tile, a directory or the metadata are damaged or missing.
    """
    try:
        read_header(path)
        with path.open("rb") as file:
            fields = _fields(file)
            for offset, length in _tiles(file, fields):
                gzip.decompress(_section(file, fields.tiles[0] + offset, length))
    except (ValueError, EOFError, OSError, StopIteration, zlib.error) as error:
        raise OSError(None, f"it came out incomplete ({error})") from error


def read_header(path: Path) -> PMTilesHeader:
    """Read what stands before the tiles.

    Raises
    ------
    ValueError
        It is no such file, or damaged.
    OSError
        It can't be read.
    """
    with path.open("rb") as file:
        fields = _fields(file)
        content = _section(file, *fields.metadata)
    try:
        metadata = json.loads(gzip.decompress(content))
    except (EOFError, OSError, zlib.error) as error:  # cut, or not packed
        raise ValueError(f"metadata of {path} can't be read: {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata of {path} are no object")
    west, south, east, north = (value / 1e7 for value in fields.values[19:23])
    zooms = (int(fields.values[17]), int(fields.values[18]))
    return PMTilesHeader(zooms, (west, south, east, north), metadata, fields.count)


def _without_tiles(name: str, layer: str, schema: pa.Schema, options: dict[str, str]) -> bytes:
    """A file of no tile, which still says what its features would have."""
    zooms = {"minzoom": int(options["MINZOOM"]), "maxzoom": int(options["MAXZOOM"])}
    kinds = {field.name: _kind(field.type) for field in schema}
    metadata = {
        "name": name,
        "description": MARK,
        "type": "overlay",
        "vector_layers": [{"id": layer, "description": "", **zooms, "fields": kinds}],
    }
    root = gzip.compress(b"\0", mtime=0)  # a directory of no entry
    packed = gzip.compress(json.dumps(metadata, ensure_ascii=False).encode(), mtime=0)
    end = _HEADER.size + len(root) + len(packed)
    sections = (_HEADER.size, len(root), _HEADER.size + len(root), len(packed), end, 0, end, 0)
    kind = (1, _GZIP, _GZIP, _VECTOR, *zooms.values())
    place = (-180 * 10**7, -85 * 10**7, 180 * 10**7, 85 * 10**7, zooms["minzoom"], 0, 0)
    return _HEADER.pack(b"PMTiles", 3, *sections, 0, 0, 0, *kind, *place) + root + packed


def _kind(type: pa.DataType) -> str:
    """What the metadata of vector tiles call a type."""
    if pa.types.is_boolean(type):
        return "Boolean"
    return "String" if pa.types.is_string(type) else "Number"


def _fields(file: BinaryIO) -> _Fields:
    file.seek(0)
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size or head[:8] != b"PMTiles\x03":
        raise ValueError("it is no PMTiles file of version 3")
    values = _HEADER.unpack(head)
    root, metadata, leaves, tiles = ((values[k], values[k + 1]) for k in (2, 4, 6, 8))
    if values[14] != _GZIP:
        raise ValueError("its sections are not packed with gzip")
    return _Fields(root, metadata, leaves, tiles, values[10], values)


def _section(file: BinaryIO, offset: int, length: int) -> bytes:
    # First, because a damaged header may state more bytes than can be asked for.
    if (missing := offset + length - file.seek(0, 2)) > 0:
        raise ValueError(f"it ends {missing} bytes early")
    file.seek(offset)
    return file.read(length)


def _tiles(file: BinaryIO, fields: _Fields) -> Iterator[tuple[int, int]]:
    """Where tiles lie in their section: offset and bytes, each once."""
    waiting = [fields.root]
    while waiting:
        packed = _section(file, *waiting.pop())
        for offset, length, repeats in _entries(gzip.decompress(packed)):
            if repeats:
                yield offset, length
            else:  # another directory
                waiting.append((fields.leaves[0] + offset, length))


def _entries(directory: bytes) -> Iterator[tuple[int, int, int]]:
    """Entries of a directory: offset, bytes, and how many tiles in a row are the same."""
    numbers = _varints(directory)
    count = next(numbers)
    columns = [[next(numbers) for _ in range(count)] for _ in range(4)]  # ids, repeats, lengths, offsets
    end = 0
    for repeats, length, stated in zip(*columns[1:], strict=True):
        # Zero: right behind the one before.
        offset = stated - 1 if stated else end
        end = offset + length
        yield offset, length, repeats


def _varints(content: bytes) -> Iterator[int]:
    """Numbers of seven bits a byte, the lowest first; the eighth says that more follow."""
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def _add_metadata(path: Path, more: dict[str, Any]) -> None:
    """Add members to the metadata of a file, which then stand at its end: GDAL takes none but its own."""
    with path.open("r+b") as file:
        fields = _fields(file)
        metadata = json.loads(gzip.decompress(_section(file, *fields.metadata))) | more
        # No time in it, as gzip would write one.
        content = gzip.compress(json.dumps(metadata, ensure_ascii=False).encode(), mtime=0)
        offset = file.seek(0, 2)
        file.write(content)
        values = list(fields.values)
        values[4:6] = offset, len(content)
        file.seek(0)
        file.write(_HEADER.pack(*values))
