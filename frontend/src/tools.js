// The tools: each asks for an edit, and the server decides what comes of it.
import Draw from 'ol/interaction/Draw.js';
import Snap from 'ol/interaction/Snap.js';
import PointerInteraction from 'ol/interaction/Pointer.js';
import Feature from 'ol/Feature.js';
import { LineString, Point } from 'ol/geom.js';
import { Circle, Fill, Stroke, Style } from 'ol/style.js';
import { map, redraw, shapes, sketch, stroke } from './map.js';
import { toMap, toPixels } from './pixels.js';
import { edit, on, say, select, setClass, setTool, state } from './state.js';
import { steps, strokeMask } from './masks.js';

// Pixels of the screen within which a click means a corner or an edge.
const NEAR = 9;
const STEPS = 1024;

const rounded = ([x, y]) => [Math.round(x * STEPS) / STEPS, Math.round(y * STEPS) / STEPS];
const fromMap = (coordinates) => coordinates.map((at) => rounded(toPixels(at)));
const sameAs = (a) => (b) => a[0] === b[0] && a[1] === b[1];

// --- what lies under the pointer ---

export function objectAt(coordinate) {
  const [x, y] = toPixels(coordinate);
  const pixel = map.getPixelFromCoordinate(coordinate);
  const features = map.getFeaturesAtPixel(pixel, { hitTolerance: 4, layerFilter: (layer) => layer.getSource() === shapes });
  const top = features.map((one) => state.objects.get(one.getId())).filter(Boolean);
  // The smallest of those that lie over each other: a house in a yard can be had, and so can the yard.
  const size = (object) => Math.abs(shapes.getFeatureById(object.id).getGeometry().getArea?.() ?? 0);
  top.sort((a, b) => size(a) - size(b));
  if (top.length) return top[0];
  const masks = [...state.objects.values()].filter((one) => one.mask?.has(Math.floor(x), Math.floor(y)));
  masks.sort((a, b) => b.order - a.order);
  return masks[0] ?? null;
}

function ringsOf(feature) {
  const geometry = feature.getGeometry();
  switch (geometry.getType()) {
    case 'MultiPolygon': return geometry.getCoordinates().flat(1);
    case 'Polygon': return geometry.getCoordinates();
    case 'LineString': return [geometry.getCoordinates()];
    case 'Point': return [[geometry.getCoordinates()]];
    default: return [];
  }
}

function around(coordinate) {
  const reach = NEAR * map.getView().getResolution();
  const [x, y] = coordinate;
  return shapes.getFeaturesInExtent([x - reach, y - reach, x + reach, y + reach]);
}

// The corner next to a place, or null where none is near.
export function cornerAt(coordinate) {
  let best = null;
  let least = NEAR * map.getView().getResolution();
  for (const feature of around(coordinate)) {
    for (const at of ringsOf(feature).flat(1)) {
      const distance = Math.hypot(at[0] - coordinate[0], at[1] - coordinate[1]);
      if (distance <= least) [best, least] = [at, distance];
    }
  }
  return best;
}

// The edge next to a place and the place on it, or null.
function edgeAt(coordinate) {
  let best = null;
  let least = NEAR * map.getView().getResolution();
  for (const feature of around(coordinate)) {
    for (const ring of ringsOf(feature)) {
      for (let i = 0; i + 1 < ring.length; i += 1) {
        const [a, b] = [ring[i], ring[i + 1]];
        const step = [b[0] - a[0], b[1] - a[1]];
        const norm = step[0] ** 2 + step[1] ** 2;
        if (!norm) continue;
        const along = ((coordinate[0] - a[0]) * step[0] + (coordinate[1] - a[1]) * step[1]) / norm;
        if (along <= 0 || along >= 1) continue;
        const at = [a[0] + along * step[0], a[1] + along * step[1]];
        const distance = Math.hypot(at[0] - coordinate[0], at[1] - coordinate[1]);
        if (distance <= least) [best, least] = [{ edge: [a, b], at }, distance];
      }
    }
  }
  return best;
}

// --- moving, inserting and removing corners ---

const handle = new Feature();
handle.setStyle(new Style({ image: new Circle({ radius: 6, fill: new Fill({ color: '#ffe600' }), stroke: new Stroke({ color: '#000', width: 1.5 }) }) }));

function moveInAll(from, to) {
  const moved = (coordinates) => {
    if (typeof coordinates[0] !== 'number') return coordinates.map(moved);
    return sameAs(from)(coordinates) ? to : coordinates;
  };
  for (const feature of shapes.getFeatures()) {
    const geometry = feature.getGeometry();
    const old = geometry.getCoordinates();
    if (ringsOf(feature).flat(1).some(sameAs(from))) geometry.setCoordinates(moved(old));
  }
}

class Corners extends PointerInteraction {
  constructor() {
    super();
    this.drag = null;
  }

  handleMoveEvent(event) {
    const corner = cornerAt(event.coordinate) ?? edgeAt(event.coordinate)?.at;
    sketch.removeFeature(handle);
    if (corner) {
      handle.setGeometry(new Point(corner));
      sketch.addFeature(handle);
    }
    map.getTargetElement().style.cursor = corner ? 'pointer' : '';
  }

  handleDownEvent(event) {
    if (event.originalEvent.button !== 0) return false;
    const corner = cornerAt(event.coordinate);
    if (corner) {
      this.drag = { from: corner, at: corner, moved: false, remove: event.originalEvent.altKey };
      return true;
    }
    const edge = edgeAt(event.coordinate);
    if (edge) {
      this.drag = { insert: edge };
      return true;
    }
    return false;
  }

  handleDragEvent(event) {
    if (!this.drag.from || this.drag.remove) return;
    const start = map.getPixelFromCoordinate(this.drag.from);
    if (!this.drag.moved && Math.hypot(event.pixel[0] - start[0], event.pixel[1] - start[1]) < 3) return;
    this.drag.moved = true;
    // The corners that move are at one place, and are none to snap to.
    const other = event.originalEvent.ctrlKey ? null : snapTarget(event.coordinate, this.drag.at);
    const to = other ?? toMap(rounded(toPixels(event.coordinate)));
    moveInAll(this.drag.at, to);
    this.drag.at = to;
    handle.setGeometry(new Point(to));
  }

  handleUpEvent() {
    const { from, at, moved, remove, insert } = this.drag;
    this.drag = null;
    if (insert) edit({ op: 'insert', edge: fromMap(insert.edge), at: rounded(toPixels(insert.at)) });
    else if (remove) edit({ op: 'remove', at: fromMap([from]) });
    else if (moved && !sameAs(from)(at)) edit({ op: 'move', moves: [[toPixels(from), toPixels(at)]] });
    return false;
  }
}

function snapTarget(coordinate, own) {
  let best = null;
  let least = NEAR * map.getView().getResolution();
  for (const feature of around(coordinate)) {
    for (const at of ringsOf(feature).flat(1)) {
      const distance = Math.hypot(at[0] - coordinate[0], at[1] - coordinate[1]);
      if (distance <= least && !sameAs(own)(at)) [best, least] = [at, distance];
    }
  }
  return best;
}

// --- selecting ---

class Select extends PointerInteraction {
  handleEvent(event) {
    if (event.type !== 'click') return true;
    const object = objectAt(event.coordinate);
    if (event.originalEvent.shiftKey && object) {
      const ids = new Set(state.selected);
      if (!ids.delete(object.id)) ids.add(object.id);
      select(ids);
    } else select(object ? [object.id] : []);
    return true;
  }
}

// --- the brush ---

class Brush extends PointerInteraction {
  constructor(erase) {
    super();
    this.erase = erase;
    this.path = null;
  }

  target() {
    const ids = [...state.selected];
    if (ids.length === 1) return state.objects.get(ids[0]) ?? null;
    return null;
  }

  pixel(coordinate) {
    return toPixels(coordinate).map(Math.floor);
  }

  handleMoveEvent(event) {
    const radius = state.brush / 2 / map.getView().getResolution();
    handle.setStyle(new Style({ image: new Circle({ radius, stroke: new Stroke({ color: this.erase ? '#f33' : '#fff', width: 1.5 }) }) }));
    handle.setGeometry(new Point(event.coordinate));
    if (!sketch.hasFeature(handle)) sketch.addFeature(handle);
  }

  handleDownEvent(event) {
    if (event.originalEvent.button !== 0) return false;
    if (this.erase && !this.target()) {
      const object = objectAt(event.coordinate);
      if (!object) {
        say('Select what is to be erased from, or begin on it.', 'error');
        return false;
      }
      select([object.id]);
    }
    this.path = [this.pixel(event.coordinate)];
    this.preview();
    return true;
  }

  handleDragEvent(event) {
    const pixel = this.pixel(event.coordinate);
    if (!sameAs(this.path[this.path.length - 1])(pixel)) this.path.push(pixel);
    handle.setGeometry(new Point(event.coordinate));
    this.preview();
  }

  preview() {
    stroke.mask = strokeMask(steps(this.path), state.brush, state.image.width, state.image.height);
    stroke.color = this.erase ? '#ff3333' : '#ffffff';
    redraw();
  }

  handleUpEvent() {
    const path = steps(this.path);
    const target = this.target();
    this.path = null;
    const op = { op: 'brush', id: target?.id ?? null, class: target?.class ?? state.class, path, size: state.brush, erase: this.erase };
    edit({ ...op, kind: state.review.kind === 'scene' ? 'polygon' : 'bitmap' }).then((answer) => {
      stroke.mask = null;
      redraw();
      if (answer && !target && answer.new.length === 1) select([answer.new[0].id]);
    });
    return false;
  }
}

// --- drawing ---

let drawingNow = null;

function watched(draw) {
  draw.on('drawstart', () => { drawingNow = draw; });
  draw.on(['drawend', 'drawabort'], () => { drawingNow = null; });
  return draw;
}

function drawing(type, then) {
  return () => {
    const draw = watched(new Draw({ type, stopClick: true, snapTolerance: 8, condition: (event) => event.originalEvent.button === 0 }));
    draw.on('drawend', (event) => {
      const coordinates = event.feature.getGeometry().getCoordinates();
      then(type === 'Polygon' ? fromMap(coordinates[0].slice(0, -1)) : type === 'Point' ? fromMap([coordinates]) : fromMap(coordinates));
    });
    return [draw, new Snap({ source: shapes, pixelTolerance: NEAR })];
  };
}

function drawRectangle() {
  const draw = watched(new Draw({
    type: 'LineString', maxPoints: 2, stopClick: true,
    geometryFunction: (coordinates) => {
      const [[x0, y0], [x1, y1]] = coordinates;
      const box = new LineString([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]);
      box.set('ends', coordinates);
      return box;
    },
  }));
  draw.on('drawend', (event) => finishDrawing('rectangle', { points: fromMap(event.feature.getGeometry().get('ends')) }));
  return [draw];
}

async function finishDrawing(kind, shape) {
  if (!state.class) {
    say('Name a class first: geoseg review ... --classes NAME', 'error');
    return;
  }
  const answer = await edit({ op: 'draw', kind, class: state.class, ...shape });
  if (answer) select(answer.new.filter((one) => !answer.gone.includes(one.id)).map((one) => one.id));
}

// Objects that a cut is meant for: the selected ones, else the one it begins on.
function idsFor(ring) {
  if (state.selected.size) return [...state.selected];
  const inside = ring.map((at) => objectAt(toMap(at))).find(Boolean);
  return inside ? [inside.id] : [];
}

function cut(ring) {
  const ids = idsFor(ring);
  if (!ids.length) say('Select what is to be cut, or begin inside of it.', 'error');
  else edit({ op: 'cut', ids, ring });
}

class FillHole extends PointerInteraction {
  handleEvent(event) {
    if (event.type !== 'click') return true;
    const at = toPixels(event.coordinate);
    const ids = [...state.selected];
    if (ids.length !== 1) say('Select the one object whose hole is to be filled.', 'error');
    else edit({ op: 'fill', id: ids[0], at });
    return false;
  }
}

export const tools = {
  select: () => [new Select()],
  corners: () => [new Corners()],
  polygon: drawing('Polygon', (ring) => finishDrawing('polygon', { rings: [ring] })),
  rectangle: drawRectangle,
  line: drawing('LineString', (points) => finishDrawing('line', { points })),
  point: drawing('Point', (points) => finishDrawing('point', { points })),
  brush: () => [new Brush(false)],
  eraser: () => [new Brush(true)],
  cut: drawing('Polygon', cut),
  fill: () => [new FillHole()],
  split: drawing('LineString', (line) => edit({ op: 'split', ids: [...state.selected], line })),
};

let active = [];

function change() {
  for (const one of active) map.removeInteraction(one);
  sketch.clear();
  stroke.mask = null;
  map.getTargetElement().style.cursor = '';
  active = tools[state.tool]();
  for (const one of active) map.addInteraction(one);
}

// What is begun is given up; with nothing begun, the tool; with no tool, the selection.
export function cancel() {
  if (drawingNow) drawingNow.abortDrawing();
  else if (state.tool !== 'select') setTool('select');
  else select([]);
}

export function finish() {
  drawingNow?.finishDrawing();
}

function onSelected(least, op) {
  const ids = [...state.selected];
  if (ids.length < least) say(least > 1 ? `Select ${least} objects or more, with Shift.` : 'Select an object first.', 'error');
  else edit({ ...op, ids });
}

export const merge = () => onSelected(2, { op: 'merge' });
export const square = () => onSelected(1, { op: 'square' });
export const remove = () => onSelected(1, { op: 'delete' });

export function chooseClass(name) {
  setClass(name);
  if (state.selected.size) onSelected(1, { op: 'class', class: name });
}

// A tag of the selected objects, else of the image; set where it is not, taken away where it is.
export function toggleTag(tag) {
  const ids = [...state.selected];
  const carriers = ids.length ? ids.map((id) => state.objects.get(id).tags) : [state.image.tags];
  const has = carriers.every((tags) => tags.some((one) => (one.name ?? one) === tag.name));
  let value = null;
  if (!has && tag.type !== 'none') {
    const text = window.prompt(`${tag.name}${tag.values.length ? ` (${tag.values.join(', ')})` : ''}:`, tag.values[0] ?? '');
    if (text === null) return;
    value = tag.type === 'any_number' ? Number(text) : text;
  }
  edit({ op: 'tag', ids, tag: tag.name, value, on: !has });
}

on('tool', change);
on('review', () => setTool('select'));
on('image', () => setTool('select'));
