// The map of a report: everything it shows is in the file itself.
import 'ol/ol.css';
import './report.css';
import OlMap from 'ol/Map.js';
import Feature from 'ol/Feature.js';
import ImageLayer from 'ol/layer/Image.js';
import TileLayer from 'ol/layer/Tile.js';
import VectorLayer from 'ol/layer/Vector.js';
import Static from 'ol/source/ImageStatic.js';
import VectorSource from 'ol/source/Vector.js';
import { MultiPolygon, Polygon } from 'ol/geom.js';
import { Fill, Stroke, Style } from 'ol/style.js';
import { defaults as defaultControls } from 'ol/control.js';
import { defaults as defaultInteractions } from 'ol/interaction/defaults.js';
import { pixelPlane, pixelView, rgba, tileSource } from './pixels.js';

const contentOf = (id) => document.getElementById(id)?.textContent;
const page = JSON.parse(contentOf('page'));
const { width, height } = page;
const plane = pixelPlane('PX', width, height, page.levels, page.finest);

// --- layers ---

const boxOf = ([left, top, right, bottom]) => [[left, -top], [right, -top], [right, -bottom], [left, -bottom], [left, -top]];
const outlined = (color, alpha, line = 1.5) => new Style({ stroke: new Stroke({ color, width: line }), fill: new Fill({ color: rgba(color, alpha) }) });

function boxes(name, entries, style) {
  const source = new VectorSource({
    features: entries.map((entry) => new Feature({ geometry: new Polygon([boxOf(entry.box)]), ...entry })),
  });
  return new VectorLayer({ source, style, className: `layer-${name}` });
}

function picture() {
  const source = tileSource(plane, (level, x, y) => `${level}-${x}-${y}`);
  source.setTileLoadFunction((tile, address) => {
    const content = contentOf(`tile-${address}`);
    // A tile without a pixel is not in the file: state 4 is OpenLayers' word for an empty one.
    if (content === undefined) tile.setState(4);
    else tile.getImage().src = content;
  });
  return new TileLayer({ source, extent: plane.extent, className: 'layer-picture' });
}

function raster(name) {
  const box = page[name];
  const source = new Static({
    url: contentOf(name),
    projection: plane.projection,
    imageExtent: [box[0], -box[3], box[2], -box[1]],
    interpolate: false,
  });
  return new ImageLayer({ source, className: `layer-${name}` });
}

// --- footprints: columns of numbers of variable length, block by block, as geoseg/report/pages/shapes.py writes them ---

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function* readShapes(bytes) {
  let at = 0;
  const next = () => {
    let [value, factor, byte] = [0, 1, 0];
    // Not by shifts, which know 32 bits: ids may have more.
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  };
  const signed = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);
  const column = (length) => Float64Array.from({ length }, next);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  let [id, x, y] = [0, 0, 0];
  while (at < bytes.length) {
    const count = next();
    const [ids, classes, confidences, areas, parts] = Array.from({ length: 5 }, () => column(count));
    const rings = column(sum(parts));
    const corners = column(sum(rings));
    let [part, ring] = [0, 0];
    for (let k = 0; k < count; k++) {
      id += signed(ids[k]);
      const [flat, ends] = [[], []];
      for (let p = 0; p < parts[k]; p++, part++) {
        const own = [];
        for (let r = 0; r < rings[part]; r++, ring++) {
          for (let c = 0; c < corners[ring]; c++) {
            x += signed(next());
            y += signed(next());
            flat.push(x * page.step, -y * page.step);
          }
          own.push(flat.length);
        }
        ends.push(own);
      }
      yield { id, class: classes[k], confidence: confidences[k] ? (confidences[k] - 1) / 100 : null, area: areas[k] / 10, flat, ends };
    }
  }
}

async function footprints() {
  const features = [];
  for (const { flat, ends, ...values } of readShapes(await unpacked(contentOf('shapes')))) {
    const geometry = ends.length === 1 ? new Polygon(flat, 'XY', ends[0]) : new MultiPolygon(flat, 'XY', ends);
    features.push(new Feature({ geometry, ...values }));
  }
  const steps = page.colors.map((color) => outlined(color, 0.25));
  const style = (feature) => {
    const confidence = feature.get('confidence');
    return steps[confidence === null ? steps.length - 1 : Math.min(steps.length - 1, Math.floor(confidence * steps.length))];
  };
  return new VectorLayer({ source: new VectorSource({ features }), style, className: 'layer-footprints' });
}

// --- the map ---

const map = new OlMap({
  target: 'map',
  view: pixelView(plane, width, height, page.nearest),
  controls: defaultControls({ attribution: false, rotate: false }),
  interactions: defaultInteractions({ altShiftDragRotate: false, pinchRotate: false, onFocusOnly: false }),
});
map.getView().fit(plane.extent, { padding: [20, 20, 20, 20] });

const show = (box) => map.getView().fit([box[0], -box[3], box[2], -box[1]], { padding: [30, 30, 30, 30] });
const info = document.getElementById('info');

function describe(feature) {
  info.replaceChildren();
  info.hidden = !feature;
  if (!feature) return;
  // Text only: names come from files.
  const line = document.createElement('p');
  const { text, link, id, area, confidence } = feature.getProperties();
  line.textContent = text ?? [
    `${page.words.footprint} ${id}: ${page.classes[feature.get('class')]}`,
    `${area.toLocaleString('en')} ${page.unit}`,
    confidence === null ? '' : `${page.words.confidence} ${confidence.toFixed(2)}`,
  ].filter(Boolean).join('\n');
  info.append(line);
  if (link) {
    const anchor = document.createElement('a');
    anchor.href = link;
    anchor.textContent = page.words.link;
    info.append(anchor);
  }
}

async function start() {
  const layers = {};
  if (page.hasPicture) layers.picture = picture();
  for (const name of ['density', 'gaps']) if (page[name]) layers[name] = raster(name);
  if (contentOf('shapes') !== undefined) layers.footprints = await footprints();
  if (page.scenes) {
    const styles = page.states.map((color) => outlined(color, 0.35));
    layers.scenes = boxes('scenes', page.scenes, (feature) => styles[feature.get('state')]);
  }
  layers.failures = boxes('failures', page.failures ?? [], outlined('#d0021b', 0.3, 2));
  layers.places = boxes('places', page.places ?? [], outlined('#ffe14d', 0, 2));
  for (const [name, layer] of Object.entries(layers)) {
    map.addLayer(layer);
    const box = document.querySelector(`input[data-layer="${name}"]`);
    box?.addEventListener('change', () => layer.setVisible(box.checked));
    if (box) layer.setVisible(box.checked);
  }
  map.on('click', (event) => {
    const hits = map.getFeaturesAtPixel(event.pixel, { hitTolerance: 2 });
    // A box of a place lies over what it is a place of.
    describe(hits.find((hit) => hit.get('kind') !== 'place') ?? hits[0]);
  });
  for (const button of document.querySelectorAll('[data-place]')) {
    button.addEventListener('click', () => {
      show(page.places[Number(button.dataset.place)].box);
      document.getElementById('frame').scrollIntoView({ block: 'nearest' });
    });
  }
  map.once('rendercomplete', () => { document.body.dataset.ready = 'yes'; });
  map.render();
}

start();
window.report = { map, show };
