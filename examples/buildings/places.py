"""The labeled places at the sampling distances that are trained at, quick to read by window.

    python examples/buildings/places.py --data ../shared/data --out examples/buildings/generated/places

Each place is written at 0.15, 0.3 and 0.5 m per pixel, resampled as `geoseg run` resamples a scene for its
network: GeoTIFFs `0.30/accra_west.tif`, with the masks of places that have no polygons beside them in
`0.30/masks/`. Large JPEGs without tiles would be decoded anew for every chip otherwise. Scenes without a
coordinate reference system keep none; train.toml states their `gsd`. Data that is not there is named and left
out.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from geoseg.geo.windows import iter_chunks
from geoseg.io.sources import open_raster

#: Meters per pixel that places are trained at, and the folder of each.
STEPS = {0.15: "0.15", 0.3: "0.30", 0.5: "0.50"}
#: In masks: what teaches nothing.
UNKNOWN = 255
#: Rows and columns that are read at once.
PIECE = 1024


@dataclass(frozen=True)
class Place:
    """Files of a place: their pattern below the data folder, what they are called here, and their sampling.

    Attributes
    ----------
    gsd
        Meters per pixel where the files have no coordinate reference system, as their notes give it.
    masked
        Whether NAME_mask.png holds the labels, 255 building, 0 background, 127 unknown.
    finest
        Meters per pixel below which the place has no detail to show.
    """

    pattern: str
    name: str
    gsd: float | None = None
    masked: bool = True
    finest: float = 0.0


PLACES = (
    Place("oam_banepa/scene_banepa_13cm.tif", "banepa", masked=False),
    Place("oam_kampala_A/kampala_A_7cm.tif", "kampala", masked=False),
    Place("oam_nepal2_A/nepal2_A_7cm.tif", "nepal2", masked=False),
    Place("oam_bicol_A/bicol_A_7cm.tif", "bicol", masked=False),
    Place("opencities_accra/accra_*.jpg", "accra", gsd=0.1),
    Place("spacenet1_rio/rio_*.tif", "rio", finest=0.3),
    # Sizes of the houses say about 0.5 m for most chips, and 0.3 m for the three large ones.
    Place("spacenet2_vegas/vegas_*.jpg", "vegas", gsd=0.5, finest=0.3),
)
#: Chips of Las Vegas that are 512 pixels wide: 0.3 m per pixel.
LARGE = {"vegas_2400": 0.3, "vegas_2500": 0.3, "vegas_2600": 0.3}


def write_place(place: Place, data: Path, out: Path) -> list[Path]:
    """Write a place at every step that it has detail for; returns the scenes written."""
    written = []
    for number, source in enumerate(sorted(data.glob(place.pattern))):
        gsd = LARGE.get(source.stem, place.gsd)
        name = f"{place.name}_{number:02}" if "*" in place.pattern else place.name
        for step, folder in STEPS.items():
            if step < place.finest:
                continue
            written.append(out / folder / f"{name}.tif")
            write_scene(source, written[-1], step, gsd)
            if place.masked:
                mask = source.with_name(f"{source.stem}_mask.png")
                write_mask(mask, written[-1], out / folder / "masks" / f"{name}.tif")
    return written


def write_scene(source: Path, target: Path, step: float, gsd: float | None) -> None:
    """A scene at ``step`` meters per pixel, tiled and not compressed."""
    scene = open_raster(source, resolution=step, gsd=gsd)
    target.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": scene.geobox.crs, "transform": scene.geobox.transform} if scene.geobox.crs else {}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "tiled": True, "photometric": "RGB"}
    temporary = target.with_suffix(".part")
    with rasterio.open(temporary, "w", height=scene.height, width=scene.width, **profile, **place) as out:
        for window in iter_chunks(scene.height, scene.width, (PIECE, PIECE)):
            pixels = scene.read(window)[:3]
            rows = (window.row_off, window.row_off + window.height)
            cols = (window.col_off, window.col_off + window.width)
            out.write(pixels, window=(rows, cols))
    temporary.replace(target)


def write_mask(source: Path, scene: Path, target: Path) -> None:
    """The mask of a scene on the scene's pixels: 1 building, 0 background, 255 unknown."""
    with rasterio.open(scene) as src:
        shape, place = src.shape, {"crs": src.crs, "transform": src.transform} if src.crs else {}
    codes = np.full(256, UNKNOWN, np.uint8)
    codes[0], codes[255] = 0, 1
    # Nearest: between building and background lies nothing.
    image = Image.fromarray(codes[np.asarray(Image.open(source).convert("L"))])
    mask = np.asarray(image.resize(shape[::-1], Image.Resampling.NEAREST))
    target.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": UNKNOWN, "compress": "deflate"}
    with rasterio.open(target, "w", height=shape[0], width=shape[1], tiled=True, **profile, **place) as out:
        out.write(mask, 1)


def main() -> None:
    """Write every place that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # photos have no coordinates
    for place in PLACES:
        written = write_place(place, options.data, options.out)
        if written:
            print(f"{place.name}: {len(written)} scenes")
        else:
            print(f"{place.name}: no {place.pattern}, left out", file=sys.stderr)


if __name__ == "__main__":
    main()
