// What all pages share: a map in the pixels of one picture, y pointing up on the map and down in pixels.
import View from 'ol/View.js';
import TileGrid from 'ol/tilegrid/TileGrid.js';
import TileImage from 'ol/source/TileImage.js';
import { Projection } from 'ol/proj.js';

export const TILE = 512;

export const toMap = ([x, y]) => [x, -y];
export const toPixels = ([x, y]) => [x, 0 - y];

export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
export const rgba = (hex, alpha) => `rgba(${rgb(hex).join(',')},${alpha})`;

// Level 0 has one pixel of the picture a pixel, each further one half as many a side; the map counts them from the
// coarsest, and its finest may be another than 0.
export function pixelPlane(code, width, height, levels, finest = 0) {
  const extent = [0, -height, width, 0];
  const projection = new Projection({ code, units: 'pixels', extent });
  const resolutions = Array.from({ length: levels - finest }, (_, i) => 2 ** (levels - 1 - i));
  return { extent, projection, resolutions, grid: new TileGrid({ extent, origin: [0, 0], resolutions, tileSize: TILE }) };
}

export function pixelView({ extent, projection, resolutions }, width, height, nearest) {
  const farthest = Math.max(...resolutions, width / 600, height / 400) * 1.5;
  return new View({ projection, maxResolution: farthest, minResolution: nearest, extent, constrainOnlyCenter: true, enableRotation: false, showFullExtent: true });
}

export function tileSource({ projection, grid }, address) {
  const coarsest = Math.log2(grid.getResolutions()[0]);
  return new TileImage({
    projection,
    tileGrid: grid,
    wrapX: false,
    transition: 0,
    tileUrlFunction: ([z, x, y]) => address(coarsest - z, x, y),
  });
}
