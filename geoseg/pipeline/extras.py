"""What lies beside the results of a scene, for those who look at them: a style and a project for QGIS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from geoseg.files import plain_stem
from geoseg.io.qgis import Drawn, RasterLayer, project_text, write_project, write_styles
from geoseg.pipeline.job import Job

__all__ = ["write_extras"]


def write_extras(
    job: Job, folder: Path, files: Mapping[str, Path], rasters: Mapping[str, Path]
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
        ``prob`` and ``mask``, as far as they were written.

    Returns
    -------
    dict
        Kind -> file.
    """
    drawn = Drawn(("class", "confidence"), job.object_classes)
    written = write_styles(files, drawn) if job.settings.style else {}
    if job.settings.qgs:
        name = job.source.name
        path = folder / f"{plain_stem(name)}.qgs"
        layers = _raster_layers(job, rasters)
        geobox = job.source.geobox
        text = project_text(folder, name, files, drawn, layers, geobox.crs, geobox.bounds())
        write_project(path, text)
        written["qgs"] = path
    return written


def _raster_layers(job: Job, rasters: Mapping[str, Path]) -> list[RasterLayer]:
    """Rasters of a project, from the top to the bottom."""
    crs = job.source.geobox.crs
    layers = []
    if "mask" in rasters:
        layers.append(RasterLayer(rasters["mask"], "mask", crs, job.object_classes))
    if "prob" in rasters:
        first_object = next(k for k in range(len(job.classes)) if k != job.background)
        layers.append(RasterLayer(rasters["prob"], "prob", crs, band=first_object + 1))
    # A mosaic, an array or an address is no file that QGIS could open.
    scene = Path(job.source.path)
    if scene.is_file() and any(file.samefile(scene) for file in job.source.files()):
        layers.append(RasterLayer(scene, "scene", crs))
    return layers
