"""How QGIS shows results: a style beside the footprints, and a project of all that a run wrote.

Equal results give equal bytes. A file that QGIS has saved since is the user's and is never written over.

References
----------
The elements are those that QGIS 3.22 writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from pyproj import CRS

from geoseg.files import json_digest, relative_path, write_text
from geoseg.io.writers.ogr import layer_name

Kind: TypeAlias = Literal["scene", "mask", "prob"]

__all__ = ["Drawn", "RasterLayer", "footprint_style", "project_text", "write_project", "write_styles"]

#: Formats beside which QGIS looks for NAME.qml.
_STYLED = ("gpkg", "fgb", "geojson", "shp")
#: Formats of which a project shows one, the first that is there.
_SHOWN = (*_STYLED, "geojsonseq", "parquet")
#: Stands in files as they were written here. QGIS does not keep comments, so it is gone once it saves one.
_MARK = "written by geoseg"
_HEAD = '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n<!-- {} -->\n'

#: Confidence up to which a color holds, and the color: red where the network was least sure, blue where it
#: was most. People who can't tell red from green can tell these (ColorBrewer's RdYlBu).
_CONFIDENCE = (
    (0.6, "215,25,28"),
    (0.7, "253,174,97"),
    (0.8, "255,255,191"),
    (0.9, "171,217,233"),
    (1.0, "44,123,182"),
)
#: Colors of classes, again and again where there are more (Okabe and Ito).
_CLASSES = ("213,94,0", "0,114,178", "0,158,115", "230,159,0", "86,180,233", "204,121,167", "240,228,66")
#: Of 255: roofs must be seen through the fill.
_FILL_ALPHA = 110
#: Characters that XML can't hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Drawn:
    """What of footprints decides how they are drawn.

    Attributes
    ----------
    columns
        Names of their attributes.
    classes
        Names of their classes.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class RasterLayer:
    """A raster of a project.

    Attributes
    ----------
    path
        Its file.
    kind
        ``scene`` is drawn as QGIS draws a raster; ``mask`` and ``prob`` in colors, and they are hidden at
        first, since they cover the scene.
    crs
        Of the raster; None without.
    classes
        Names of its values 1, 2, ... (mask).
    band
        1-based band that is drawn (prob).
    """

    path: Path
    kind: Kind
    crs: CRS | None
    classes: tuple[str, ...] = ()
    band: int = 1


def footprint_style(drawn: Drawn) -> str:
    """A QML style: fill by confidence, or by class where there is none; no labels.

    Parameters
    ----------
    drawn
        The footprints.

    Examples
    --------
    >>> text = footprint_style(Drawn(("id", "class", "confidence"), ("building",)))
    >>> 'attr="confidence"' in text, 'labelsEnabled="0"' in text
    (True, True)
    """
    root = Element("qgis", version="3.22.0", styleCategories="Symbology|Labeling", labelsEnabled="0")
    root.append(_footprint_renderer(drawn))
    SubElement(root, "blendMode").text = "0"
    SubElement(root, "layerGeometryType").text = "2"
    return _text(root)


def write_styles(files: Mapping[str, Path], drawn: Drawn, scene: Iterable[Path]) -> dict[str, Path]:
    """Write NAME.qml beside those footprints whose format QGIS looks for it with.

    Parameters
    ----------
    files
        Format -> file.
    drawn
        The footprints.
    scene
        Files of the scene: beside one of that name no style is written, for QGIS would take it for the
        raster's, and draw 16 bits black.

    Returns
    -------
    dict
        ``style`` -> the file; empty where no format has one. Files of several formats share it, for they have
        one name.
    """
    path = next((files[name].with_suffix(".qml") for name in _STYLED if name in files), None)
    if path is None or any(file.resolve().with_suffix(".qml") == path.resolve() for file in scene):
        return {}
    _write_unless_saved_by_qgis(path, footprint_style(drawn))
    return {"style": path}


def write_project(path: Path, text: str) -> None:
    """Write a project, unless the user has saved one of that name in QGIS."""
    _write_unless_saved_by_qgis(path, text)


def project_text(
    folder: Path,
    title: str,
    files: Mapping[str, Path],
    drawn: Drawn,
    rasters: Sequence[RasterLayer],
    crs: CRS | None,
    bounds: tuple[float, float, float, float],
) -> str:
    """A QGIS project of footprints over rasters, with paths relative to its folder.

    Parameters
    ----------
    folder
        Where the project is to lie.
    title
        Of the project.
    files
        Footprints, format -> file; one of them is shown.
    drawn
        The footprints.
    rasters
        From the top to the bottom, all below the footprints.
    crs, bounds
        Of the scene: CRS of the map, and (min x, min y, max x, max y) that it shows at first.
    """
    root = Element("qgis", version="3.22.0", projectname=_plain(title))
    SubElement(root, "title").text = _plain(title)
    _put_crs(SubElement(root, "projectCrs"), crs)
    tree = SubElement(root, "layer-tree-group")
    canvas = SubElement(root, "mapcanvas", name="theMapCanvas")
    extent = SubElement(canvas, "extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        SubElement(extent, name).text = repr(float(value))
    layers = SubElement(root, "projectlayers")
    shown = next((name for name in _SHOWN if name in files), None)
    if shown is not None:
        file = files[shown]
        source = relative_path(file, folder)
        # Of a package with layers of the user, the one that was written.
        source += f"|layername={layer_name(file.stem)}" if shown == "gpkg" else ""
        on_earth = CRS.from_epsg(4326) if shown.startswith("geojson") and crs is not None else crs
        layer = _put_layer(tree, layers, "vector", f"{title} footprints", source, on_earth)
        layer.set("geometry", "Polygon")
        layer.set("labelsEnabled", "0")
        layer.append(_footprint_renderer(drawn))
    for raster in rasters:
        name = title if raster.kind == "scene" else f"{title} {raster.kind}"
        source = relative_path(raster.path, folder)
        layer = _put_layer(tree, layers, "raster", name, source, raster.crs, raster.kind == "scene")
        if raster.kind != "scene":
            SubElement(layer, "pipe").append(_raster_renderer(raster))
    properties = SubElement(root, "properties")
    SubElement(SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    # Without it QGIS ignores the map's CRS.
    SubElement(SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int").text = "1"
    return _text(root)


def _put_layer(
    tree: Element, layers: Element, kind: str, name: str, source: str, crs: CRS | None, visible: bool = True
) -> Element:
    """Add a layer to the list on the left and to the layers; returns the second."""
    provider, title = ("ogr" if kind == "vector" else "gdal"), _plain(name)
    # Any text that no other layer has; QGIS makes one of the name and the time.
    key = f"{kind}_{json_digest([name, source])[:16]}"
    shown = "Qt::Checked" if visible else "Qt::Unchecked"
    facts = {"id": key, "name": title, "source": _plain(source), "providerKey": provider, "checked": shown}
    SubElement(tree, "layer-tree-layer", facts, expanded="0")
    layer = SubElement(layers, "maplayer", type=kind)
    SubElement(layer, "id").text = key
    SubElement(layer, "datasource").text = _plain(source)
    SubElement(layer, "layername").text = title
    _put_crs(SubElement(layer, "srs"), crs)
    encoding = {"encoding": "UTF-8"} if kind == "vector" else {}
    SubElement(layer, "provider", encoding).text = provider
    return layer


def _put_crs(parent: Element, crs: CRS | None) -> None:
    if crs is None:
        return
    system = SubElement(parent, "spatialrefsys", nativeFormat="Wkt")
    SubElement(system, "wkt").text = crs.to_wkt()
    if code := crs.to_authority():
        SubElement(system, "authid").text = ":".join(code)


def _footprint_renderer(drawn: Drawn) -> Element:
    if "confidence" not in drawn.columns:
        renderer = Element("renderer-v2", type="categorizedSymbol", attr="class", symbollevels="0")
        categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
        for k, name in enumerate(map(_plain, drawn.classes)):
            facts = {"value": name, "label": name, "type": "string"}
            SubElement(categories, "category", facts, symbol=str(k), render="true")
            _put_symbol(symbols, k, _CLASSES[k % len(_CLASSES)])
        return renderer
    renderer = Element(
        "renderer-v2", type="graduatedSymbol", attr="confidence", graduatedMethod="GraduatedColor",
        symbollevels="0",
    )  # fmt: skip
    ranges, symbols = SubElement(renderer, "ranges"), SubElement(renderer, "symbols")
    lower = 0.0
    for k, (upper, color) in enumerate(_CONFIDENCE):
        label = f"up to {upper:g}" if k == 0 else f"{lower:g} to {upper:g}"
        SubElement(
            ranges, "range", lower=repr(lower), upper=repr(upper), symbol=str(k), label=label, render="true"
        )
        _put_symbol(symbols, k, color)
        lower = upper
    return renderer


def _put_symbol(symbols: Element, number: int, color: str) -> None:
    symbol = SubElement(symbols, "symbol", type="fill", name=str(number), alpha="1")
    layer = SubElement(symbol, "layer", attrib={"class": "SimpleFill"}, enabled="1", locked="0")
    options = SubElement(layer, "Option", type="Map")
    for name, value in {
        "color": f"{color},{_FILL_ALPHA}", "style": "solid", "outline_color": f"{color},255",
        "outline_style": "solid", "outline_width": "0.3", "outline_width_unit": "MM", "joinstyle": "miter",
    }.items():  # fmt: skip
        SubElement(options, "Option", name=name, value=value, type="QString")


def _raster_renderer(raster: RasterLayer) -> Element:
    facts = {"band": str(raster.band), "opacity": "0.6", "alphaBand": "-1"}
    if raster.kind == "mask":
        renderer = Element("rasterrenderer", facts, type="paletted")
        palette = SubElement(renderer, "colorPalette")
        for value, name in enumerate(map(_plain, raster.classes), 1):
            color = _hex(_CLASSES[(value - 1) % len(_CLASSES)])
            SubElement(palette, "paletteEntry", value=str(value), color=color, label=name, alpha="255")
        return renderer
    limits = {"classificationMin": "0", "classificationMax": "1"}
    renderer = Element("rasterrenderer", facts | limits, type="singlebandpseudocolor")
    shader = SubElement(
        SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED",
        classificationMode="1", clip="0", minimumValue="0", maximumValue="1",
    )  # fmt: skip
    # Clear ground stays clear: the scene is to be seen where there is nothing.
    for share, color in ((0.0, _CONFIDENCE[0][1]), *_CONFIDENCE):
        alpha, text = ("255" if share else "0"), f"{share:g}"
        SubElement(shader, "item", value=text, color=_hex(color), alpha=alpha, label=text)
    return renderer


def _hex(color: str) -> str:
    """#rrggbb of "r,g,b"."""
    return "#" + "".join(f"{int(part):02x}" for part in color.split(","))


def _plain(text: Any) -> str:
    return _NOT_XML.sub("\ufffd", str(text))


def _text(root: Element) -> str:
    ElementTree.indent(root)
    return _HEAD.format(_MARK) + ElementTree.tostring(root, encoding="unicode") + "\n"


def _write_unless_saved_by_qgis(path: Path, text: str) -> None:
    if path.is_file():
        with path.open("rb") as file:
            if _MARK.encode() not in file.read(len(_HEAD) + len(_MARK)):
                return
    write_text(path, text)
