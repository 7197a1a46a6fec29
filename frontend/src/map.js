// The map: the image's tiles, objects near by as shapes, objects far away as pictures, and what lies over them.
import OlMap from 'ol/Map.js';
import Feature from 'ol/Feature.js';
import ImageLayer from 'ol/layer/Image.js';
import TileLayer from 'ol/layer/Tile.js';
import VectorLayer from 'ol/layer/Vector.js';
import ImageCanvasSource from 'ol/source/ImageCanvas.js';
import VectorSource from 'ol/source/Vector.js';
import { LineString, MultiPolygon, Point, Polygon } from 'ol/geom.js';
import { Circle, Fill, Stroke, Style } from 'ol/style.js';
import { defaults as defaultControls } from 'ol/control.js';
import { defaults as defaultInteractions } from 'ol/interaction/defaults.js';
import MouseWheelZoom from 'ol/interaction/MouseWheelZoom.js';
import { pixelPlane, pixelView, rgb, rgba, tileSource, toMap } from './pixels.js';
import { loadObjects, on, say, state } from './state.js';

// Pixels of the image a pixel of the screen from which on objects are pictures, not shapes.
const FAR = 4;
// Part of the view by which more is loaded than is seen.
const MARGIN = 0.3;

export const view = { opacity: 0.35, contrast: 1, brightness: 1, image: true, objects: true, swipe: null };

const imageLayer = new TileLayer({ className: 'layer-image' });
const overlay = new TileLayer({ className: 'layer-overlay' });
const overlayBefore = new TileLayer({ className: 'layer-overlay-before', visible: false });
export const shapes = new VectorSource();
const shapesBefore = new VectorSource();
export const sketch = new VectorSource();

function colorOf(name) {
  const found = state.review?.classes.find((one) => one.name === name);
  return found?.color ?? '#ffcc00';
}

const styles = new Map();

function styled(color, selected, status) {
  const key = `${color}|${selected}|${status}|${view.opacity}`;
  if (!styles.has(key)) {
    const rejected = status === 'rejected';
    styles.set(
      key,
      new Style({
        fill: new Fill({ color: rgba(color, rejected ? 0 : selected ? Math.min(1, view.opacity + 0.15) : view.opacity) }),
        stroke: new Stroke({
          color: rejected ? '#888888' : selected ? '#ffffff' : color,
          width: selected ? 3 : status === 'accepted' ? 2.5 : 1.5,
          lineDash: rejected ? [3, 5] : undefined,
        }),
        image: new Circle({ radius: 5, fill: new Fill({ color }), stroke: new Stroke({ color: '#fff', width: selected ? 3 : 1 }) }),
      }),
    );
  }
  return styles.get(key);
}

const cornerStyle = new Style({
  image: new Circle({ radius: 4, fill: new Fill({ color: '#ffffff' }), stroke: new Stroke({ color: '#0b5fff', width: 2 }) }),
});

function cornersOf(geometry) {
  const parts = geometry.getType() === 'MultiPolygon' ? geometry.getCoordinates() : [geometry.getCoordinates()];
  return parts.flat(1);
}

function shapeStyle(feature) {
  const object = state.objects.get(feature.getId());
  if (!object) return undefined;
  const selected = state.selected.has(object.id);
  const base = styled(colorOf(object.class), selected, object.status);
  const geometry = feature.getGeometry();
  if (!selected || geometry.getType() !== 'MultiPolygon') return base;
  const corners = new Style({ image: cornerStyle.getImage() });
  const points = cornersOf(geometry).flat(1);
  return [base, ...points.map((at) => { const one = corners.clone(); one.setGeometry(new Point(at)); return one; })];
}

const shapeLayer = new VectorLayer({ source: shapes, style: shapeStyle, className: 'layer-shapes', updateWhileInteracting: true });
const beforeLayer = new VectorLayer({
  source: shapesBefore,
  className: 'layer-before',
  style: (feature) => styled(colorOf(feature.get('class')), false, ''),
});
const sketchLayer = new VectorLayer({
  source: sketch,
  className: 'layer-sketch',
  style: new Style({ fill: new Fill({ color: 'rgba(255,255,255,0.3)' }), stroke: new Stroke({ color: '#fff', width: 2 }) }),
});

// Bitmaps, each drawn once in its own pixels and then laid on the map.
export const stroke = { mask: null, color: '#ffffff' };

function masksOn(getObjects, withStroke) {
  return function draw(extent, resolution, ratio, size) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = size.map(Math.ceil);
    const context = canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    const scale = ratio / resolution;
    const put = (mask, color, alpha) => {
      context.globalAlpha = alpha;
      context.drawImage(
        mask.canvas(rgb(color)),
        (mask.left - extent[0]) * scale,
        (extent[3] + mask.top) * scale,
        mask.width * scale,
        mask.height * scale,
      );
    };
    const bitmaps = [...getObjects().values()].filter((one) => one.mask && one.status !== 'rejected');
    bitmaps.sort((a, b) => a.order - b.order);
    for (const object of bitmaps) {
      const selected = withStroke && state.selected.has(object.id);
      put(object.mask, colorOf(object.class), Math.min(1, view.opacity + (selected ? 0.35 : 0.1)));
    }
    if (withStroke && stroke.mask) put(stroke.mask, stroke.color, 0.6);
    return canvas;
  };
}

const maskLayer = new ImageLayer({ className: 'layer-masks' });
const maskLayerBefore = new ImageLayer({ className: 'layer-masks-before' });

export const map = new OlMap({
  layers: [imageLayer, overlayBefore, beforeLayer, maskLayerBefore, overlay, maskLayer, shapeLayer, sketchLayer],
  controls: defaultControls({ attribution: false, rotate: false }),
  interactions: defaultInteractions({
    altShiftDragRotate: false, pinchRotate: false, doubleClickZoom: false, keyboard: false, shiftDragZoom: false, mouseWheelZoom: false,
  }).extend([new MouseWheelZoom({ duration: 100 })]),
});

// --- swipe: the other prediction on the left of a line, this one on the right ---

function clip(onLeft) {
  return (event) => {
    const context = event.context;
    context.save();
    if (view.swipe === null) {
      if (onLeft) { context.beginPath(); context.rect(0, 0, 0, 0); context.clip(); }
      return;
    }
    const { width, height } = context.canvas;
    const at = width * view.swipe;
    context.beginPath();
    context.rect(onLeft ? 0 : at, 0, onLeft ? at : width - at, height);
    context.clip();
  };
}

for (const [layer, onLeft] of [[beforeLayer, true], [overlayBefore, true], [maskLayerBefore, true], [overlay, false], [shapeLayer, false], [maskLayer, false]]) {
  layer.on('prerender', clip(onLeft));
  layer.on('postrender', (event) => event.context.restore());
}

export function setSwipe(share) {
  view.swipe = share;
  show();
  map.render();
}

// --- the image ---

// Tiles that come later are asked for again; what never comes is said once.
let told = null;
function loadPatiently(source) {
  source.setTileLoadFunction((tile, address) => {
    const image = tile.getImage();
    const again = async (tries) => {
      let response;
      try {
        response = await fetch(address);
      } catch {
        tile.setState(3);
        return;
      }
      if (response.status === 503 && response.headers.has('Retry-After') && tries < 600) {
        const { error } = await response.json();
        if (told !== error) say(error);
        told = error;
        setTimeout(() => again(tries + 1), 1000 * Number(response.headers.get('Retry-After')));
        return;
      }
      if (!response.ok || response.status === 204) {
        if (!response.ok) {
          const { error } = await response.json();
          if (told !== error) say(error, 'error');
          told = error;
        }
        tile.setState(response.ok ? 4 : 3);
        return;
      }
      image.src = URL.createObjectURL(await response.blob());
      image.addEventListener('load', () => URL.revokeObjectURL(image.src), { once: true });
    };
    again(0);
  });
  return source;
}

function overlayUrl(layer) {
  return (level, x, y) => `/api/overlay/${state.image.id}/${layer}/${level}/${x}/${y}?r=${state.revision}`;
}

function showImage() {
  const { width, height, levels, id } = state.image;
  const plane = pixelPlane(`PX${id}`, width, height, levels);
  const { extent } = plane;
  imageLayer.setExtent(extent);
  imageLayer.setSource(loadPatiently(tileSource(plane, (level, x, y) => `/api/tiles/${id}/${level}/${x}/${y}`)));
  for (const [layer, name] of [[overlay, 'now'], [overlayBefore, 'before']]) {
    layer.setExtent(extent);
    layer.setSource(tileSource(plane, overlayUrl(name)));
  }
  for (const [layer, objects, withStroke] of [[maskLayer, () => state.objects, true], [maskLayerBefore, () => state.before, false]]) {
    layer.setSource(new ImageCanvasSource({ projection: plane.projection, canvasFunction: masksOn(objects, withStroke), ratio: 1, interpolate: false }));
  }
  map.setView(pixelView(plane, width, height, 1 / 32));
  map.getView().fit(extent, { padding: [20, 20, 20, 20] });
  map.getView().on('change:resolution', show);
}

export function fitTo(box) {
  map.getView().fit([box[0], -box[3], box[2], -box[1]], { padding: [40, 40, 40, 40], maxZoom: undefined });
}

// --- objects ---

function geometryOf(object) {
  if (object.kind === 'polygon') {
    return new MultiPolygon(object.parts.map((part) => part.map((ring) => [...ring, ring[0]].map(toMap))));
  }
  if (object.kind === 'line') return new LineString(object.points.map(toMap));
  if (object.kind === 'point') return new Point(toMap(object.points[0]));
  if (object.kind === 'rectangle') {
    const [[left, top], [right, bottom]] = object.points;
    return new Polygon([[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]].map(toMap)]);
  }
  return null;
}

function fill(source, objects) {
  const features = [];
  for (const object of objects.values()) {
    const geometry = geometryOf(object);
    if (!geometry) continue;
    const feature = new Feature({ geometry, class: object.class });
    feature.setId(object.id);
    features.push(feature);
  }
  source.clear(true);
  source.addFeatures(features);
}

export function redraw() {
  styles.clear();
  shapes.changed();
  shapesBefore.changed();
  for (const layer of [maskLayer, maskLayerBefore]) layer.getSource()?.changed();
}

const isFar = () => state.review?.kind === 'scene' && map.getView().getResolution() > FAR;

export function show() {
  if (!state.image) return;
  const pictures = isFar() || state.dense;
  const before = view.swipe !== null;
  imageLayer.setVisible(view.image);
  imageLayer.setOpacity(1);
  overlay.setVisible(view.objects && pictures);
  shapeLayer.setVisible(view.objects && !pictures);
  maskLayer.setVisible(view.objects && !pictures);
  overlayBefore.setVisible(before && pictures);
  beforeLayer.setVisible(before && !pictures);
  maskLayerBefore.setVisible(before && !pictures);
}

export function setFilter() {
  const element = document.querySelector('.layer-image');
  if (element) element.style.filter = `brightness(${view.brightness}) contrast(${view.contrast})`;
}

// Loads what is looked at, unless it is in what was loaded last.
let loaded = null;

export async function refresh(force = false) {
  show();
  if (!state.image || isFar()) return;
  const { width, height } = state.image;
  let box = [0, 0, width, height];
  if (state.review.kind === 'scene') {
    const [left, bottom, right, top] = map.getView().calculateExtent(map.getSize());
    if (!force && loaded && loaded.image === state.image.id && !loaded.dense
      && loaded.box[0] <= Math.max(0, left) && loaded.box[1] <= Math.max(0, -top)
      && loaded.box[2] >= Math.min(width, right) && loaded.box[3] >= Math.min(height, -bottom)) return;
    const [dx, dy] = [(right - left) * MARGIN, (top - bottom) * MARGIN];
    box = [left - dx, -top - dy, right + dx, -bottom + dy];
  } else if (!force && loaded?.image === state.image.id) return;
  await loadObjects(box);
  loaded = { image: state.image.id, box, dense: state.dense };
  show();
}

function start() {
  map.setTarget('map');
  map.on('moveend', () => refresh().catch((error) => say(error.message, 'error')));
  map.on('rendercomplete', setFilter);
}

on('review', start);
on('image', () => { loaded = null; showImage(); });
on('objects', () => { fill(shapes, state.objects); fill(shapesBefore, state.before); redraw(); show(); });
on('selection', redraw);
on('changed', () => {
  for (const layer of [overlay, overlayBefore]) layer.getSource()?.refresh();
});
on('stale', () => { for (const layer of [overlay, overlayBefore]) layer.getSource()?.refresh(); refresh(true); });
on('place', (place) => {
  if (place.box) fitTo(place.box);
  refresh().catch((error) => say(error.message, 'error'));
});
