"""What lies beside the results of a scene, for other programs: style and project for QGIS, a STAC item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.files import check_page, plain_stem
from geoseg.io.qgis import Drawn, RasterLayer, project_text, write_project, write_styles
from geoseg.io.sources import Renamed
from geoseg.io.stac import StacScene
from geoseg.io.stac_out import (
    StacAsset,
    check_stac,
    item_file,
    model_file,
    stac_item,
    write_item,
    write_model,
)
from geoseg.io.writers import FORMATS, check_unowned, output_path
from geoseg.models.card import card_text
from geoseg.pipeline.job import Job, input_files
from geoseg.pipeline.record import REPORT_MAKER, report_file
from geoseg.raster.stitch import INVALID, SCALE

if TYPE_CHECKING:
    from geoseg.pipeline.ground import Ground

__all__ = ["check_extras", "earlier_files", "footprint_assets", "write_extras"]

#: Kinds of footprints that are a part of a scene's, where they were compared with known ones.
PARTS = ("new", "changed", "gone")
#: Files of a shapefile beside the first, and a type that says no more than that they are files.
_SHAPEFILE_SIDES, _BYTES = (".shx", ".dbf", ".prj", ".cpg"), "application/octet-stream"


def check_extras(job: Job, folder: Path) -> None:
    """Refuse, before any work is done, to write over what somebody else made.

    Raises
    ------
    InputError
        A STAC item or a card of that name is not ours. What QGIS saved stays as it is, and needs no check.
    """
    if job.settings.stac:
        stem = plain_stem(job.source.name)
        check_stac(item_file(folder, stem), job.settings.overwrite)
        check_stac(model_file(folder, stem), job.settings.overwrite)


def write_extras(
    job: Job,
    folder: Path,
    files: Mapping[str, Path],
    rasters: Mapping[str, Path],
    listed: Mapping[str, Path],
    parts: Mapping[tuple[str, str], Path],
    *,
    scene: object,
    origin: Mapping[str, Any],
    footprints: int,
    ground: Callable[[], Ground],
) -> dict[str, Path]:
    """Write the extras that the settings ask for.

    Parameters
    ----------
    job
        What was run.
    folder
        Of the results.
    files
        Footprints, format -> file.
    rasters
        ``prob``, ``mask`` and ``valid``, as far as they were written.
    listed
        ``failures`` -> the list of what is missing, where something is.
    parts
        (``new``, ``changed`` or ``gone``; format) -> file, where footprints were compared with known ones.
    scene
        What the scene was opened from.
    origin
        What the results say of their origin.
    footprints
        Number of them.
    ground
        Gives where the scene had data; asked only where that is told.

    Returns
    -------
    dict
        Kind -> file.
    """
    drawn = Drawn(("class", "confidence"), job.object_classes)
    written = write_styles(files, drawn, job.source.files()) if job.settings.style else {}
    if job.settings.qgs:
        name = job.source.name
        path = folder / f"{plain_stem(name)}.qgs"
        layers = _raster_layers(job, rasters)
        geobox = job.source.geobox
        text = project_text(folder, name, files, drawn, layers, geobox.crs, geobox.bounds())
        write_project(path, text)
        written["qgs"] = path
    if job.settings.stac:
        assets = [*footprint_assets(files), *_raster_assets(job, rasters)]
        for kind in dict.fromkeys(kind for kind, _ in parts):
            of_kind = {format: file for (name, format), file in parts.items() if name == kind}
            assets += footprint_assets(of_kind, kind)
        assets += [StacAsset(key, file, "Regions that could not be read") for key, file in listed.items()]
        written |= _write_stac(job, folder, assets, scene, origin, footprints, ground())
    return written


def _write_stac(
    job: Job,
    folder: Path,
    assets: Sequence[StacAsset],
    scene: object,
    origin: Mapping[str, Any],
    footprints: int,
    ground: Ground,
) -> dict[str, Path]:
    """Write the item of a scene, and beside it the card of its model, where it has one."""
    stem, card = plain_stem(job.source.name), job.predictor.card
    written = {"stac": item_file(folder, stem)}
    model = None
    if card is not None:
        written["model"] = model_file(folder, stem)
        write_model(written["model"], json.loads(card_text(card)), job.fingerprint["model"])
        assets = [*assets, StacAsset("model", written["model"], "Card of the model")]
        model = (written["model"], card.name)
    item = stac_item(
        folder,
        job.source.name,
        job.source.geobox,
        job.source.acquired,
        origin,
        assets,
        derived_from=_item_of(scene),
        footprints=footprints,
        seen=ground.cells > 0,
        cells=ground.geobox,
        model=model,
    )
    write_item(written["stac"], item)
    return written


def earlier_files(job: Job, folder: Path, written: Iterable[Path]) -> list[Path]:
    """What tells of results of an earlier call with other options, and was not written by this one.

    A STAC item with the model's card, a report, and parts of footprints that were compared. Footprints in
    other formats are not counted: they say themselves with which options they were made.
    """
    stem = plain_stem(job.source.name)
    # Of a scene of that very name, such as town.new, they are whole results.
    kinds = [kind for kind in PARTS if not (folder / f"{stem}.{kind}.geoseg").is_dir()]
    parts = {output_path(folder, f"{stem}.{kind}", format): format for kind in kinds for format in FORMATS}
    report = [] if job.settings.report else [report_file(folder, job.source.name)]
    inputs = {Path(path).absolute() for path in input_files(job, None)}
    told = inputs | {path.absolute() for path in written}
    candidates = [item_file(folder, stem), model_file(folder, stem), *report, *parts]
    return [
        path
        for path in candidates
        if path.is_file() and path.absolute() not in told and _is_ours(path, parts.get(path))
    ]


def _is_ours(path: Path, format: str | None) -> bool:
    """Whether geoseg wrote a file; ``format`` is that of footprints, None for an item, a card or a report."""
    try:
        if format is not None:
            check_unowned({format: path}, overwrite=False)
        elif path.suffix == ".html":
            check_page(path, [], REPORT_MAKER)
        else:
            check_stac(path, overwrite=False)
    except InputError:
        return False
    return True


def _item_of(scene: object) -> Path | None:
    """The STAC item that a scene was opened from."""
    # A batch gives scenes of one name others; beneath that they are what they were.
    while isinstance(scene, Renamed):
        scene = scene.reference
    return Path(scene.label) if isinstance(scene, StacScene) else None


def footprint_assets(files: Mapping[str, Path], kind: str = "", of: str = "") -> list[StacAsset]:
    """Assets of footprints.

    Parameters
    ----------
    files
        Format -> file.
    kind
        Of those that are only a part of them, such as ``gone``.
    of
        Begins their keys and ends their titles, where they are not of one scene.
    """
    key = "".join(f"{word}_" for word in (of, kind) if word)
    title = " ".join(filter(None, ("Footprints", kind and f"that are {kind}", of and f"({of})")))
    assets = [StacAsset(f"{key}{format}", path, f"{title} ({format})") for format, path in files.items()]
    # The files beside a .shp are a part of it: whoever follows the item has to find them all.
    if "shp" in files:
        sides = [files["shp"].with_suffix(suffix) for suffix in _SHAPEFILE_SIDES]
        assets += [
            StacAsset(f"{key}shp_{side.suffix[1:]}", side, f"{title} (shp, {side.suffix})", {"type": _BYTES})
            for side in sides
            if side.exists()
        ]
    return assets


def _raster_assets(job: Job, rasters: Mapping[str, Path]) -> list[StacAsset]:
    stored = {"data_type": "uint8", "nodata": INVALID}
    facts: dict[str, tuple[str, dict[str, Any]]] = {
        "prob": (
            "Probabilities",
            {"bands": [{"name": name, **stored, "raster:scale": 1 / SCALE} for name in job.classes]},
        ),
        "mask": (
            "Classes",
            {
                "bands": [{"name": "class", **stored}],
                "classification:classes": [
                    {"value": value, "name": name}
                    for value, name in enumerate(["background", *job.object_classes])
                ],
            },
        ),
        "valid": ("Ground with data", {}),
    }
    return [StacAsset(kind, path, facts[kind][0], facts[kind][1]) for kind, path in rasters.items()]


def _raster_layers(job: Job, rasters: Mapping[str, Path]) -> list[RasterLayer]:
    """Rasters of a project, from the top to the bottom."""
    crs = job.source.geobox.crs
    layers = []
    if "mask" in rasters:
        layers.append(RasterLayer(rasters["mask"], "mask", crs, job.object_classes))
    if "prob" in rasters:
        # The first class that is an object: of the background a map would be bright where nothing is.
        first_object = next(k for k in range(len(job.classes)) if k != job.background)
        layers.append(RasterLayer(rasters["prob"], "prob", crs, band=first_object + 1))
    # A mosaic, an array or an address is no file that QGIS could open.
    scene = Path(job.source.path)
    if scene.is_file() and any(file.samefile(scene) for file in job.source.files()):
        layers.append(RasterLayer(scene, "scene", crs))
    return layers
