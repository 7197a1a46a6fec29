"""Shapefiles, with what their format can't hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from geoseg.errors import RunError
from geoseg.io.writers.checks import check_shapefile
from geoseg.io.writers.ogr import OgrWriter

__all__ = ["ShapefileWriter", "dbf_names"]


def dbf_names(names: Sequence[str]) -> list[str]:
    """Column names of at most 10 bytes, all different regardless of case, as dBASE wants them.

    Examples
    --------
    >>> dbf_names(["area_m2", "touches_edge", "touches_edition"])
    ['area_m2', 'touches_ed', 'touches__1']
    """
    taken: dict[str, None] = {}
    out = []
    for name in names:
        short = name.encode()[:10].decode(errors="ignore")
        number = 0
        while short.lower() in taken:
            number += 1
            tail = f"_{number}"
            short = name.encode()[: 10 - len(tail)].decode(errors="ignore") + tail
        taken[short.lower()] = None
        out.append(short)
    return out


class ShapefileWriter(OgrWriter):
    """Shapefile: names of 10 characters, booleans as 0 and 1, UTF-8, at most 2 GB."""

    driver, suffix = "ESRI Shapefile", ".shp"
    encoding = "UTF-8"
    layer_options = {"2GB_LIMIT": "YES", "DBF_DATE_LAST_UPDATE": "2000-01-01"}  # noqa: RUF012
    _first_columns = (b"id", b"class", b"area_")
    provenance_suffix = ".shp.provenance.json"
    side_suffixes = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qpj", ".shp.xml")

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the fixed date and the first columns of its table: there is no place for a mark."""
        table = path.with_suffix(".dbf")
        head = table.read_bytes()[:128] if table.is_file() else b""
        names = [head[32 * k : 32 * k + 11].rstrip(b"\0") for k in (1, 2, 3)]
        dated = head[1:4] == bytes([100, 1, 1])  # years since 1900, month, day
        return dated and all(name.startswith(first) for name, first in zip(names, cls._first_columns))

    def _check(self, written: Path) -> None:
        check_shapefile(written, self.count, self._fields.names[:-1])

    def _columns(self) -> list[pa.Field]:
        types = [pa.int16() if pa.types.is_boolean(kind) else kind for kind in self.schema.types]
        return [pa.field(name, kind) for name, kind in zip(dbf_names(self.schema.names), types)]

    def _layer_type(self) -> str:
        return "Polygon"  # which holds several parts as well: the format has no other

    def _raise_if_failed(self) -> None:
        if self._error is not None and "2GB" in str(self._error):
            raise RunError(
                f"cannot write {self.path}: a shapefile holds at most 2 GB. Use gpkg, parquet or fgb."
            ) from self._error
        super()._raise_if_failed()
