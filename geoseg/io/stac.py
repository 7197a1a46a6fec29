"""Scenes that STAC metadata on disk tell of: an item, a collection of items, a catalog."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from geoseg.errors import InputError, SceneError
from geoseg.io.metadata import parse_date
from geoseg.io.names import is_remote
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike

__all__ = ["SceneQuery", "StacScene", "choose_assets", "is_stac", "matches", "read_stac"]

_LIMIT_BYTES = 256 * 1024 * 1024
#: The version may come late: after the assets where names are sorted, in the items of a collection.
_HEAD_BYTES = 256 * 1024
_SUFFIXES = (".json", ".geojson")
#: Media types of rasters that are read, as an asset states them; what stands behind a semicolon is a profile.
_RASTERS = (
    "image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/jp2", "image/jpeg", "image/png",
    "image/webp", "application/x-hdf", "application/x-hdf5", "application/netcdf", "application/x-netcdf",
    "application/vnd+zarr", "application/vnd.zarr", "application/x-zarr",
)  # fmt: skip
#: Roles of pictures that nobody means by the scene.
_ASIDE = {"thumbnail", "overview", "metadata", "cloud", "cloud-shadow", "data-mask", "snow-ice", "saturation"}
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True)
class SceneQuery:
    """Which items of a STAC collection are taken, and what of them is read.

    Attributes
    ----------
    assets
        Names or roles of assets whose bands are read, in this order; empty: the only raster that holds data.
    max_cloud
        Most cloud cover in percent (``eo:cloud_cover``); None: whatever it is.
    first, last
        ISO dates, or the beginning of such (``2024-05``); empty: open.
    remote
        Whether assets on other hosts may be read.
    """

    assets: tuple[str, ...] = ()
    max_cloud: float | None = None
    first: str = ""
    last: str = ""
    remote: bool = False

    @staticmethod
    def interval(text: str | None) -> tuple[str, str]:
        """First and last date of an interval as STAC writes it.

        Raises
        ------
        InputError
            It is none.

        Examples
        --------
        >>> SceneQuery.interval("2024-05-01/2024-08"), SceneQuery.interval("2024-05/..")
        (('2024-05-01', '2024-08'), ('2024-05', ''))
        >>> SceneQuery.interval("2024")
        ('2024', '2024')
        """
        if text is None:
            return "", ""
        first, mark, last = text.partition("/")
        ends = ["" if end.strip() in ("", "..") else end.strip() for end in (first, last if mark else first)]
        if any(end and not _DATE.fullmatch(end) for end in ends):
            raise InputError(
                f"dates must be a date or two with / between, such as 2024-05-01/2024-08-31, got {text}."
            )
        return ends[0], ends[1]


def matches(properties: Mapping[str, Any], query: SceneQuery) -> str:
    """Why an item is left out, by its properties; empty where it is taken.

    Examples
    --------
    >>> matches({"eo:cloud_cover": 70, "datetime": "2024-05-06T10:00:00Z"}, SceneQuery(max_cloud=20))
    'too cloudy'
    >>> matches({"datetime": "2024-05-06T10:00:00Z"}, SceneQuery(first="2024-05", last="2024-05"))
    ''
    >>> matches({}, SceneQuery(max_cloud=20)), matches({}, SceneQuery(last="2024"))
    ('without a cloud cover', 'without a date')
    """
    if query.first or query.last:
        date = _date_of(properties)
        if date is None:
            return "without a date"
        if date[: len(query.first)] < query.first or (query.last and date[: len(query.last)] > query.last):
            return "of other dates"
    if query.max_cloud is not None:
        cover = properties.get("eo:cloud_cover")
        if not isinstance(cover, (int, float)):
            return "without a cloud cover"
        if cover > query.max_cloud:
            return "too cloudy"
    return ""


def choose_assets(assets: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """Names of the assets that are read of an item.

    Raises
    ------
    SceneError
        One that is not there; or several that could be meant.

    Examples
    --------
    >>> assets = {"B04": {"roles": ["data"], "type": "image/jp2"}, "preview": {"roles": ["thumbnail"]}}
    >>> choose_assets(assets, ()), choose_assets(assets, ["data"])
    (['B04'], ['B04'])
    """
    rasters = {name: _roles(asset) for name, asset in assets.items() if _is_raster(asset)}
    if wanted:
        chosen = []
        for word in wanted:
            named = [word] if word in assets else [name for name, roles in rasters.items() if word in roles]
            if len(named) != 1:
                trouble = f"which {len(named)} of them have as a role" if named else "which it has not"
                raise SceneError(f"asset must be one of {_listed(assets)}, got {word}, {trouble}.")
            chosen += named
        return chosen
    usable = [name for name, roles in rasters.items() if not roles & _ASIDE]
    data = [name for name in usable if "data" in rasters[name]] or usable
    if len(data) > 1:
        # a picture in true color beside its bands is what networks for pictures are made for
        data = [name for name in data if name == "visual" or "visual" in rasters[name]] or data
    if len(data) != 1:
        what = "several rasters" if data else "no raster"
        raise SceneError(
            f"a STAC item must have one raster of data, got {what} among {_listed(assets)}. --asset names "
            "what to read."
        )
    return data


def _listed(assets: Mapping[str, Any]) -> str:
    names = list(assets)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "no asset"


def _roles(asset: Mapping[str, Any]) -> set[str]:
    roles = asset.get("roles")
    return {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()


def _split(href: str) -> SplitResult:
    try:
        return urlsplit(href)
    except ValueError:  # half of an IPv6 address
        raise SceneError(f"asset must be a file or an address, got {href}.") from None


def _is_raster(asset: Mapping[str, Any]) -> bool:
    media = str(asset.get("type") or "").partition(";")[0].strip().lower()
    if media:
        return media in _RASTERS
    path = _split(str(asset.get("href", ""))).path.lower()
    return path.endswith((".tif", ".tiff", ".jp2", ".vrt", ".zarr"))


def _date_of(properties: Mapping[str, Any]) -> str | None:
    text = properties.get("datetime") or properties.get("start_datetime")
    return parse_date(text) if isinstance(text, str) else None


@dataclass(frozen=True)
class StacScene:
    """Assets of a STAC item, as a scene; the bands of several lie behind each other.

    Attributes
    ----------
    name
        Id of the item.
    label
        The file of the item.
    hrefs
        Files and addresses of the assets.
    assets
        Their names.
    acquired
        ISO date of the item.
    trouble
        Why it can't be opened; empty where nothing is known against it.
    """

    name: str
    label: str
    hrefs: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    acquired: str | None = None
    trouble: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Files and addresses that it is read from."""
        return self.hrefs or (self.label,)

    def open(self, *, bands: Sequence[int] | None = None, expand_palette: bool = True) -> RasterSource:
        """Open the assets.

        Raises
        ------
        SceneError
            There is trouble; or the assets are no rasters, or not of the same pixels.
        """
        # Here: a raster may be named by an item, and an item names rasters. And the kernels behind these load
        # numba, which a command that only looks for its files does without.
        from geoseg.io.sources import open_raster
        from geoseg.raster.stack import stack_bands
        from geoseg.raster.view import RenamedScene

        if self.trouble:
            raise SceneError(self.trouble)
        if len(self.hrefs) == 1:
            source: RasterSource = open_raster(self.hrefs[0], bands=bands, expand_palette=expand_palette)
        else:
            parts = [open_raster(href, expand_palette=expand_palette) for href in self.hrefs]
            source = stack_bands(parts, self.assets, bands)
        return RenamedScene(source, self.name, self.acquired)


def is_stac(word: PathLike) -> bool:
    """Whether a file is STAC metadata: by its suffix and its first bytes."""
    path = Path(word)
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return b'"stac_version"' in head or (b'"FeatureCollection"' in head and b'"assets"' in head)


def read_stac(path: PathLike, query: SceneQuery | None = None) -> tuple[list[StacScene], dict[str, int]]:
    """The scenes of an item, a collection of items, or a catalog with all below it.

    Parameters
    ----------
    path
        A JSON file. Names in it are relative to the file that they stand in; links to other hosts are not
        followed.
    query
        Which items are taken. One that lacks the asset is a scene that can't be opened.

    Returns
    -------
    list of StacScene, dict
        By id; and how many items were left out, by reason.

    Raises
    ------
    SceneError
        No STAC metadata, or a catalog that leads back to itself.
    """
    query = query or SceneQuery()
    scenes: dict[tuple[str, str], StacScene] = {}
    left_out: dict[str, int] = {}
    for file, item in _items(Path(path), left_out):
        scene = _scene_of(item, file, query, left_out)
        if scene is not None:
            scenes[scene.name, scene.paths[0]] = scene
    return [scenes[key] for key in sorted(scenes)], left_out


def _scene_of(
    item: Mapping[str, Any], file: Path, query: SceneQuery, left_out: dict[str, int]
) -> StacScene | None:
    stated, listed = item.get("properties"), item.get("assets")
    properties: dict[str, Any] = stated if isinstance(stated, dict) else {}
    assets = (
        {key: asset for key, asset in listed.items() if isinstance(asset, dict)}
        if isinstance(listed, dict)
        else {}
    )
    if why := matches(properties, query):
        left_out[why] = left_out.get(why, 0) + 1
        return None
    name, date = str(item.get("id") or file.stem), _date_of(properties)
    try:
        chosen = choose_assets(assets, query.assets)
        hrefs = tuple(_place(str(assets[key].get("href", "")), file, query.remote) for key in chosen)
    except SceneError as error:
        return StacScene(name, str(file), acquired=date, trouble=f"{name}: {error}")
    return StacScene(name, str(file), hrefs, tuple(chosen), date)


def _place(href: str, file: Path, remote: bool) -> str:
    """The file or address that an href names; a relative one is relative to its file."""
    if _split(href).scheme == "file":
        href = unquote(_split(href).path)  # before it is looked at: a % may hide a host
    if is_remote(href):
        if not remote:
            raise SceneError(f"asset must be a local file, got {href}. --remote reads it from there.")
        return href
    if "://" in href or href.lower().startswith("/vsi"):
        raise SceneError(f"asset must be a file or an address, got {href}.")
    return str(file.parent / href)


def _items(path: Path, left_out: dict[str, int]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Items of a file and of all that it links to, with the file that each stands in."""
    # (file, files above it); depth first, in the order of the links
    waiting: list[tuple[Path, tuple[Path, ...]]] = [(path, ())]
    seen: set[Path] = set()
    while waiting:
        file, above = waiting.pop()
        place = file.resolve()
        if place in above:
            raise SceneError(f"a STAC catalog must not lead back to itself, got {file} below itself.")
        if place in seen:  # by another way
            continue
        seen.add(place)
        content = _parsed(file)
        if content.get("type") == "Feature":
            yield file, content
        elif content.get("type") == "FeatureCollection":
            yield from ((file, item) for item in _objects(content.get("features")))
        else:
            links = _objects(content.get("links"))
            below = [str(link.get("href", "")) for link in links if link.get("rel") in ("child", "item")]
            hosts = [href for href in below if is_remote(href)]
            if hosts:
                left_out["on other hosts"] = left_out.get("on other hosts", 0) + len(hosts)
            # A NUL, which no file name has, would be an error of another kind.
            local = [file.parent / unquote(href).replace("\0", "?") for href in below if href not in hosts]
            waiting += [(one, (*above, place)) for one in reversed(local)]


def _objects(values: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list; nothing of what is no list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _parsed(file: Path) -> dict[str, Any]:
    try:
        if os.path.getsize(file) > _LIMIT_BYTES:  # noqa: PTH202 - of a name with a NUL, no error of another kind
            raise SceneError(f"STAC metadata must be smaller than {_LIMIT_BYTES} bytes, got {file}.")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise SceneError(f"STAC metadata must be readable, got {file}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise SceneError(f"STAC metadata must be JSON, got {file}.") from None
    if not isinstance(content, dict) or content.get("type") not in (
        "Feature", "FeatureCollection", "Catalog", "Collection",
    ):  # fmt: skip
        raise SceneError(f"STAC metadata must be an item, a collection or a catalog, got {file}.")
    return content
