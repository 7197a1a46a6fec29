// What stands around the map: the list, tools, classes, view, messages, the keys.
import { allKeys } from './keys.js';
import { chooseClass, toggleTag } from './tools.js';
import { exportFiles, goTo, on, redo, setTool, state, undo } from './state.js';
import { redraw, setFilter, setSwipe, show, view } from './map.js';

// An element with attributes, listeners (on...) and children.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const parts = {};

function part(name, tag = 'div') {
  parts[name] = h(tag, { id: name });
  return parts[name];
}

const TOOLS = [
  ['select', 'Select'], ['corners', 'Corners'], ['polygon', 'Polygon'], ['rectangle', 'Rectangle'], ['line', 'Line'],
  ['point', 'Point'], ['brush', 'Brush'], ['eraser', 'Eraser'], ['cut', 'Cut out'], ['fill', 'Fill hole'], ['split', 'Split'],
];
const KEY_OF = { select: 'V', corners: 'M', polygon: 'D', rectangle: 'T', line: 'I', point: 'O', brush: 'B', eraser: 'E', cut: 'C', fill: 'F', split: 'S' };
const HINTS = {
  select: 'Click an object; Shift selects more.',
  corners: 'Drag a corner: a shared wall moves both. Click an edge to insert, Alt-click to remove.',
  polygon: 'Click the corners; a double click or Enter ends.',
  rectangle: 'Click two opposite corners.',
  line: 'Click along the line; a double click ends.',
  point: 'Click.',
  brush: 'Paint; with an object selected, onto it. [ and ] change the size.',
  eraser: 'Erase from the selected object. [ and ] change the size.',
  cut: 'Draw what is to be cut out; inside it becomes a hole.',
  fill: 'Click into the hole of the selected object.',
  split: 'Draw a line across; a double click ends. Nothing selected: all that it crosses.',
};

function button(text, key, action, attributes = {}) {
  return h('button', { type: 'button', title: key ? `${text} (${key})` : text, ...attributes, onclick: (event) => { event.currentTarget.blur(); action(); } }, text, key ? h('kbd', {}, key) : null);
}

function slider(label, low, high, step, value, change) {
  return h('label', { class: 'slider' }, label, h('input', { type: 'range', min: low, max: high, step, value, oninput: (event) => change(Number(event.target.value)) }));
}

function showTools() {
  const scene = state.review.kind === 'scene';
  const kept = TOOLS.filter(([name]) => !scene || !['rectangle', 'line', 'point'].includes(name));
  parts.tools.replaceChildren(...kept.map(([name, label]) => button(label, KEY_OF[name], () => setTool(name), { 'aria-pressed': String(state.tool === name), 'data-tool': name })));
  parts.hint.textContent = `${HINTS[state.tool]} ${['brush', 'eraser'].includes(state.tool) ? `Size ${state.brush}.` : ''}`;
}

function showClasses() {
  parts.classes.replaceChildren(...state.review.classes.map((one) => {
    const swatch = h('i', { class: 'swatch' });
    swatch.style.background = one.color;
    return h('button', { type: 'button', 'aria-pressed': String(state.class === one.name), 'data-class': one.name, onclick: (event) => { event.currentTarget.blur(); chooseClass(one.name); } }, swatch, one.name, one.key ? h('kbd', {}, one.key) : null);
  }));
}

function showTags() {
  const ids = [...state.selected];
  const tags = ids.length ? state.objects.get(ids[0])?.tags ?? [] : state.image?.tags ?? [];
  const names = new Set(tags.map((one) => one.name ?? one));
  parts.tags.hidden = !state.review.tags.length;
  parts.tags.replaceChildren(h('h2', {}, ids.length ? 'Tags of the selected' : 'Tags of the image'), ...state.review.tags.map((tag) => button(tag.name, tag.key, () => toggleTag(tag), { 'aria-pressed': String(names.has(tag.name)), 'data-tag': tag.name })));
}

function percent(value) {
  return value === null ? '' : `${(100 * value).toFixed(1)} %`;
}

// Rows around the current one: lists have thousands.
function showPlaces() {
  const at = state.place ?? 0;
  const first = Math.max(0, at - 8);
  parts.count.textContent = `${state.accepted} of ${state.total} accepted`;
  parts.list.replaceChildren(...state.places.slice(first, first + 30).map((place, i) => {
    const known = [place.uncertain === null ? '' : `unsure ${percent(place.uncertain)}`, place.expected_iou === null ? '' : `IoU ${place.expected_iou.toFixed(2)}`].filter(Boolean).join(', ');
    return h('li', { class: `place ${place.status}`, 'aria-current': first + i === at ? 'true' : null, 'data-place': place.id, onclick: () => goTo(first + i) },
      h('span', { class: 'mark' }, place.status === 'accepted' ? '✓' : place.status === 'rejected' ? '✗' : ''),
      h('span', { class: 'name' }, place.name), place.qa ? h('span', { class: 'qa', title: 'drawn at random: for measuring, never for training' }, 'qa') : null, h('small', {}, known));
  }));
}

function showFacts() {
  parts.undo.disabled = !state.undo;
  parts.redo.disabled = !state.redo;
  parts.saved.textContent = state.busy ? 'saving ...' : 'saved';
  parts.selected.textContent = state.selected.size ? `${state.selected.size} selected` : `${state.objects.size} objects in view`;
}

function showHelp() {
  const groups = Map.groupBy ? Map.groupBy(allKeys(), ([, group]) => group) : grouped(allKeys());
  const rows = [...groups].map(([group, entries]) => h('section', {}, h('h2', {}, group), h('dl', {}, ...entries.flatMap(([keys, , text]) => [h('dt', {}, ...keys.map((key) => h('kbd', {}, key))), h('dd', {}, text)]))));
  parts.help.replaceChildren(h('button', { type: 'button', class: 'close', onclick: () => parts.help.close() }, 'Close'), h('div', { class: 'groups' }, ...rows));
  if (parts.help.open) parts.help.close();
  else parts.help.showModal();
}

function grouped(entries) {
  const groups = new Map();
  for (const entry of entries) groups.set(entry[1], [...(groups.get(entry[1]) ?? []), entry]);
  return groups;
}

let fading;
function showMessage({ text, kind }) {
  parts.message.textContent = text;
  parts.message.className = kind;
  parts.message.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { parts.message.hidden = true; }, kind === 'error' ? 12000 : 5000);
}

function swipeLine() {
  const line = h('input', { id: 'swipe', type: 'range', min: 0, max: 1, step: 0.001, value: 0.5, 'aria-label': 'swipe', hidden: true, oninput: (event) => setSwipe(Number(event.target.value)) });
  parts.swipe = line;
  return line;
}

export function build() {
  const left = h('aside', { id: 'left' }, h('header', {}, part('title', 'h1'), part('count', 'p')), part('list', 'ol'));
  const undoButton = button('Undo', 'Ctrl+Z', undo, { id: 'undo' });
  const redoButton = button('Redo', 'Ctrl+Y', redo, { id: 'redo' });
  Object.assign(parts, { undo: undoButton, redo: redoButton });
  const right = h('aside', { id: 'right' },
    h('h2', {}, 'Tools'), part('tools'), part('hint', 'p'),
    h('div', { class: 'row' }, undoButton, redoButton),
    h('h2', {}, 'Classes'), part('classes'), part('tags'),
    h('h2', {}, 'View'),
    slider('Objects', 0, 1, 0.05, view.opacity, (value) => { view.opacity = value; redraw(); }),
    slider('Contrast', 0.3, 3, 0.05, 1, (value) => { view.contrast = value; setFilter(); }),
    slider('Brightness', 0.3, 3, 0.05, 1, (value) => { view.brightness = value; setFilter(); }),
    h('p', {}, part('selected', 'span'), ' · ', part('saved', 'span')),
    part('foot'));
  document.body.append(left, h('main', {}, h('div', { id: 'map', tabindex: 0 }), swipeLine(), part('message')), right, part('help', 'dialog'));
  parts.message.hidden = true;
  parts.message.setAttribute('role', 'status');
}

on('review', () => {
  parts.title.textContent = state.review.title;
  document.title = `${state.review.title} · geoseg review`;
  const write = state.review.kind === 'scene' ? button('Export', '', exportFiles, { id: 'export' }) : null;
  parts.foot.replaceChildren(...[write, button('Keys', '?', showHelp, { id: 'keys' })].filter(Boolean));
  showClasses();
  showTools();
  showPlaces();
});
on('tool', showTools);
on('brush', showTools);
on('class', showClasses);
on('places', showPlaces);
on('place', showPlaces);
on('facts', showFacts);
on('objects', showFacts);
on('selection', () => { showFacts(); showTags(); });
on('changed', () => { showFacts(); showTags(); });
on('image', showTags);
on('help', showHelp);
on('message', showMessage);
on('view', () => { parts.swipe.hidden = view.swipe === null; show(); });

