"""STAC metadata of results: an item for a scene, a collection for many, all links relative.

Nothing in it depends on the time or the place of writing, so equal runs give equal bytes.

References
----------
STAC specification 1.1, https://github.com/radiantearth/stac-spec; its extensions Processing 1.2, Projection
2.0, File 2.1 (checksums as multihash), Classification 2.0 and Raster 2.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.files import json_text, relative_path, write_text
from geoseg.geo.geobox import GeoBox
from geoseg.io.stac_place import around, bbox_of, outline_of
from geoseg.typing import BoolArray

__all__ = [
    "COLLECTION",
    "StacAsset",
    "check_stac",
    "item_file",
    "model_file",
    "stac_item",
    "write_collection",
    "write_item",
    "write_model",
]

#: Name of the collection in a folder of results of many scenes.
COLLECTION = "collection.json"

_VERSION = "1.1.0"
_EXTENSIONS = {
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}
_GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_MEDIA = {
    "geojson": "application/geo+json",
    "geojsonseq": "application/geo+json-seq",
    "gpkg": "application/geopackage+sqlite3",
    "parquet": "application/vnd.apache.parquet",
    "fgb": "application/vnd.flatgeobuf",
    "shp": "application/vnd.shp",
    "pmtiles": "application/vnd.pmtiles",
    "failures": "application/json",
    "manifest": "application/vnd.sqlite3",
    "model": "application/geo+json",
}
#: Assets that tell of the results.
_METADATA = ("failures", "manifest", "model")
#: Stands for the weights in a card beside results: they are not there, and this says which ones they are.
_WEIGHTS = "urn:geoseg:model:"
#: STAC wants a time. Of a scene whose date nobody knows this is all that can be said.
_ANY_TIME = ("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z")


@dataclass(frozen=True)
class StacAsset:
    """A file of results.

    Attributes
    ----------
    key
        Its name in the item; a format behind the last _ says what kind of file it is, any other end means a
        GeoTIFF.
    path
        The file.
    title
        For people.
    facts
        Further fields, such as ``bands``.
    """

    key: str
    path: Path
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def item_file(folder: Path, stem: str) -> Path:
    """The item beside the results of a scene.

    Examples
    --------
    >>> item_file(Path("out"), "north").name
    'north.stac.json'
    """
    return folder / f"{stem}.stac.json"


def model_file(folder: Path, stem: str) -> Path:
    """The card of the model beside the item of a scene.

    Examples
    --------
    >>> model_file(Path("out"), "north").name
    'north.model.json'
    """
    return folder / f"{stem}.model.json"


def check_stac(path: Path, overwrite: bool) -> None:
    """Refuse to write over an item, a collection or a card that geoseg did not write, such as a model's own.

    Raises
    ------
    InputError
        It would be lost.
    """
    if not path.is_file() or overwrite:
        return
    try:
        content = json.loads(path.read_bytes())
        about = content.get("summaries" if content.get("type") == "Collection" else "properties", {})
        ours = "geoseg" in json.dumps(about.get("processing:software", {})) or any(
            str(asset["href"]).startswith(_WEIGHTS) for asset in content.get("assets", {}).values()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        ours = False
    if not ours:
        raise InputError(
            f"output must be new or written by geoseg before, got {path}, which is neither. "
            "Choose another folder, or give --overwrite (overwrite=True)."
        )


def write_model(path: Path, card: Mapping[str, Any], fingerprint: str) -> None:
    """Write the card of a model beside results, whole or not at all.

    The weights do not lie there, and where they do is of this machine alone. So the asset names them by the
    model's fingerprint; their checksum stays.

    Parameters
    ----------
    path
        The file.
    card
        A STAC item with the MLM extension.
    fingerprint
        Of the model.
    """
    assets = {
        key: {**asset, "href": f"{_WEIGHTS}{fingerprint}"} if "mlm:model" in asset.get("roles", ()) else asset
        for key, asset in card["assets"].items()
    }
    write_item(path, {**card, "assets": assets})


def stac_item(
    folder: Path,
    name: str,
    geobox: GeoBox,
    acquired: str | None,
    provenance: Mapping[str, Any],
    assets: Sequence[StacAsset],
    derived_from: str | Path | None = None,
    footprints: int | None = None,
    seen: BoolArray | None = None,
    cells: GeoBox | None = None,
    model: tuple[Path, str] | None = None,
) -> dict[str, Any]:
    """An item for the results of a scene.

    Parameters
    ----------
    folder
        Where the item is to lie.
    name
        Of the scene: the item's id.
    geobox
        Of what was read of the scene. Without a place on the Earth the item has no geometry.
    acquired
        ISO date the scene was taken; None: not known.
    provenance
        Versions, scene, model and options.
    assets
        The files.
    derived_from
        STAC item of the scene, a file or an address.
    footprints
        Number of them.
    seen, cells
        Ground in which something was seen, as :func:`geoseg.io.stac_place.outline_of` takes it.
    model
        Card of the model, a STAC item with the MLM extension, and the name of the model.
    """
    files = {asset.key: _asset(asset, folder) for asset in assets}
    outline = outline_of(geobox, seen, cells)
    ground = geobox.ground_resolution()
    code = None if geobox.crs is None else geobox.crs.to_authority()
    properties: dict[str, Any] = {
        **_times(acquired),
        "title": f"Footprints of {name}",
        **({} if ground is None else {"gsd": round(float(np.sqrt(ground[0] * ground[1])), 4)}),
        "processing:software": {"geoseg": provenance["geoseg"]},
        "processing:lineage": _lineage(name, provenance),
        # Null of a CRS without a code: then the text tells.
        **({} if geobox.crs is None else {"proj:code": ":".join(code) if code else None}),
        **({} if geobox.crs is None or code else {"proj:wkt2": geobox.crs.to_wkt()}),
        "proj:shape": [geobox.height, geobox.width],
        "proj:transform": list(geobox.transform[:6]),
        # Model output, by the levels of the Processing extension.
        "processing:level": "L4",
        **({} if footprints is None else {"geoseg:footprints": footprints}),
        "geoseg:provenance": dict(provenance),
    }
    links = []
    if model is not None:
        # As the MLM extension has it. Its other fields are the card's: who declares the extension is a model.
        href, name_of_model = relative_path(model[0], folder), model[1]
        properties["processing:expression"] = {"format": "stac-mlm", "expression": href}
        links.append(
            {"rel": "derived_from", "href": href, "type": "application/geo+json", "mlm:name": name_of_model}
        )
    if derived_from is not None:
        href = derived_from if isinstance(derived_from, str) else relative_path(derived_from, folder)
        links.append({"rel": "derived_from", "href": href, "type": "application/geo+json"})
    text = json.dumps([properties, files])
    place: dict[str, Any] = {"geometry": None}
    if outline is not None:
        place = {"geometry": shapely.geometry.mapping(outline), "bbox": bbox_of(outline, geobox)}
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [url for prefix, url in _EXTENSIONS.items() if f'"{prefix}:' in text],
        "id": name,
        **place,
        "properties": properties,
        "links": links,
        "assets": files,
    }


def write_item(path: Path, item: Mapping[str, Any]) -> None:
    """Write an item, whole or not at all."""
    write_text(path, json_text(dict(item), indent=2) + "\n")


def write_collection(
    folder: Path, items: Sequence[Path], software: str, assets: Sequence[StacAsset] = ()
) -> list[Path]:
    """Write a collection of items, and put into each of them that it is part of it.

    Parameters
    ----------
    folder
        Where it is to lie, above the items.
    items
        Their files.
    software
        Version of geoseg.
    assets
        Files of the whole, such as the merged footprints.

    Returns
    -------
    list of Path
        Files that it leaves out, because they are no items.
    """
    path, name = folder / COLLECTION, folder.resolve().name or "results"
    boxes: list[list[float]] = []
    times: list[tuple[str, str]] = []
    listed: list[Path] = []
    left_out: list[Path] = []
    ours = ("collection", "parent", "root")
    for file in items:
        try:
            item = json.loads(file.read_bytes())
            date = item["properties"]["datetime"]
            # A scene without a place has none; a box may have heights, which stand third and last.
            box = [float(value) for value in item.get("bbox", ())]
            box = [*box[:2], *box[3:5]] if len(box) == 6 else box
            if not (date is None or isinstance(date, str)) or len(box) not in (0, 4):
                raise TypeError
            others = [link for link in item["links"] if link["rel"] not in ours]
        # An item of an earlier call, which somebody may have changed: the work is done, and must not be lost.
        except (ValueError, KeyError, TypeError, RecursionError):
            left_out.append(file)
            continue
        listed.append(file)
        times += [] if date is None else [(date, date)]
        boxes += [box] if box else []
        above = relative_path(path, file.parent)
        links = [{"rel": rel, "href": above, "type": "application/json"} for rel in ours]
        joined = {**item, "collection": name, "links": [*others, *links]}
        if joined != item:
            write_item(file, joined)
    first, last = (min(t for t, _ in times), max(t for _, t in times)) if times else _ANY_TIME
    links = [
        {"rel": "item", "href": relative_path(file, folder), "type": "application/geo+json"}
        for file in listed
    ]
    files = {asset.key: _asset(asset, folder) for asset in assets}
    text = json.dumps(files)
    collection = {
        "type": "Collection",
        "stac_version": _VERSION,
        "stac_extensions": [
            url for prefix, url in _EXTENSIONS.items() if prefix == "processing" or f'"{prefix}:' in text
        ],
        "id": name,
        "description": f"Footprints of {len(listed)} scenes, made by geoseg.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [around(boxes)]},
            "temporal": {"interval": [[first, last]]},
        },
        "summaries": {"processing:software": [{"geoseg": software}]},
        "links": [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}, *links],
        **({"assets": files} if files else {}),
    }
    write_item(path, collection)
    return left_out


def _asset(asset: StacAsset, folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = {
        "href": relative_path(asset.path, folder),
        "type": _MEDIA.get(asset.key.rpartition("_")[2], _GEOTIFF),
        "title": asset.title,
        "roles": ["metadata"] if asset.key in _METADATA else ["data"],
    }
    # The manifest tells times of day, by which equal runs would differ here as well.
    if asset.path.is_dir():
        parts = sorted(asset.path.iterdir())
        described["title"] += f": a folder of {len(parts)}" + (" file" if len(parts) == 1 else " files")
        described["file:size"] = sum(part.stat().st_size for part in parts)
    elif asset.key != "manifest":
        with asset.path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        # A multihash: 0x12 is SHA-256, 0x20 its length.
        described |= {"file:size": asset.path.stat().st_size, "file:checksum": f"1220{checksum}"}
    return {**described, **asset.facts}


def _times(acquired: str | None) -> dict[str, str | None]:
    if acquired is None:
        return {"datetime": None, "start_datetime": _ANY_TIME[0], "end_datetime": _ANY_TIME[1]}
    return {"datetime": acquired if "T" in acquired else f"{acquired}T00:00:00Z"}


def _lineage(name: str, provenance: Mapping[str, Any]) -> str:
    model = provenance.get("model", {})
    network = model.get("name") or f"a model ({model.get('fingerprint', 'unknown')[:12]})"
    return f"Segmented from the scene {name} by {network} with geoseg {provenance['geoseg']}."
