// Every key and what it does, in one table: the page obeys it, and `?` shows it.
import { cancel, chooseClass, finish, merge, remove, square, toggleTag } from './tools.js';
import { judge, next, previous, redo, setTool, state, tell, undo } from './state.js';
import { fitTo, map, redraw, setSwipe, show, view } from './map.js';

const zoom = (factor) => () => map.getView().animate({ resolution: map.getView().getResolution() * factor, duration: 100 });

function size(factor) {
  return () => {
    const step = Math.max(1, Math.round(state.brush * 0.2));
    state.brush = Math.min(1000, Math.max(1, state.brush + factor * step));
    tell('brush');
  };
}

function opacity(step) {
  return () => {
    view.opacity = Math.min(1, Math.max(0, view.opacity + step));
    redraw();
    tell('view');
  };
}

function toggle(name) {
  return () => {
    view[name] = !view[name];
    show();
    tell('view');
  };
}

function swipe() {
  if (state.review.before) setSwipe(view.swipe === null ? 0.5 : null);
  tell('view');
}

function toPlace() {
  const place = state.places[state.place];
  const image = state.image;
  fitTo(place?.box ?? [0, 0, image.width, image.height]);
}

const everything = () => fitTo([0, 0, state.image.width, state.image.height]);

// [keys, group, what it does, action]
export const table = [
  [['A'], 'List', 'accept the place, or the selected objects; then the next place', () => judge('accepted')],
  [['R'], 'List', 'reject the place, or the selected objects', () => judge('rejected')],
  [['N', 'ArrowRight'], 'List', 'next place', next],
  [['P', 'ArrowLeft'], 'List', 'previous place', previous],
  [['U'], 'List', 'take the mark back', () => judge('')],
  [['V'], 'Tools', 'select; Shift selects more', () => setTool('select')],
  [['M'], 'Tools', 'corners: drag moves, a click on an edge inserts, Alt and a click removes', () => setTool('corners')],
  [['D'], 'Tools', 'draw a polygon', () => setTool('polygon')],
  [['T'], 'Tools', 'draw a rectangle', () => setTool('rectangle')],
  [['I'], 'Tools', 'draw a line', () => setTool('line')],
  [['O'], 'Tools', 'draw a point', () => setTool('point')],
  [['B'], 'Tools', 'brush', () => setTool('brush')],
  [['E'], 'Tools', 'eraser', () => setTool('eraser')],
  [['['], 'Tools', 'smaller brush', size(-1)],
  [[']'], 'Tools', 'larger brush', size(1)],
  [['C', 'H'], 'Tools', 'cut out: a hole where the ring lies inside', () => setTool('cut')],
  [['F'], 'Tools', 'fill a hole of the selected object', () => setTool('fill')],
  [['S'], 'Tools', 'split by a line', () => setTool('split')],
  [['G'], 'Objects', 'merge the selected', merge],
  [['Q'], 'Objects', 'right angles', square],
  [['Delete', 'Backspace'], 'Objects', 'delete', remove],
  [['Ctrl+Z'], 'Objects', 'undo', undo],
  [['Ctrl+Y', 'Ctrl+Shift+Z'], 'Objects', 'redo', redo],
  [['Enter'], 'Objects', 'end the drawing', finish],
  [['Escape'], 'Objects', 'give up the drawing, then the tool, then the selection', cancel],
  [['Z'], 'View', 'go to the place', toPlace],
  [['0'], 'View', 'the whole image', everything],
  [['+', '='], 'View', 'closer', zoom(0.5)],
  [['-'], 'View', 'farther', zoom(2)],
  [['L'], 'View', 'objects on and off', toggle('objects')],
  [['K'], 'View', 'image on and off', toggle('image')],
  [[','], 'View', 'objects more transparent', opacity(-0.1)],
  [['.'], 'View', 'objects less transparent', opacity(0.1)],
  [['W'], 'View', 'swipe between the two predictions', swipe],
  [['?'], 'View', 'these keys', () => tell('help')],
];

export function allKeys() {
  const classes = state.review.classes.filter((one) => one.key).map((one) => [[one.key], 'Classes', one.name, () => chooseClass(one.name)]);
  const tags = state.review.tags.filter((one) => one.key).map((one) => [[one.key], 'Tags', one.name, () => toggleTag(one)]);
  return [...table, ...classes, ...tags];
}

// What was pressed, as the table has it. Digits by their place: with Shift they are other signs.
export function nameOf(event) {
  const digit = /^Digit(\d)$/.exec(event.code ?? '')?.[1];
  let name = digit && (event.shiftKey || event.altKey) ? digit : event.key;
  const sign = name.length === 1 && !/[a-z0-9]/i.test(name);
  if (name.length === 1) name = name.toUpperCase();
  return [
    (event.ctrlKey || event.metaKey) && 'Ctrl',
    event.altKey && 'Alt',
    event.shiftKey && !sign && 'Shift',
    name,
  ].filter(Boolean).join('+');
}

export function listen() {
  document.addEventListener('keydown', (event) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== 'range') return;
    const name = nameOf(event);
    const entry = allKeys().find(([keys]) => keys.includes(name));
    if (!entry) return;
    event.preventDefault();
    entry[3]();
  });
}

