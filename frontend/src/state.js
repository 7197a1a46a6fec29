// What the page knows: the review, the image that is shown, its objects, what is selected.
// Whoever changes something says so with `tell`; whoever shows it listens with `on`.
import { get, post, ApiError } from './api.js';
import { Mask } from './masks.js';

const listeners = new Map();

export function on(what, listener) {
  if (!listeners.has(what)) listeners.set(what, []);
  listeners.get(what).push(listener);
}

export function tell(what, value) {
  for (const listener of listeners.get(what) ?? []) listener(value);
}

export const state = {
  review: null, // answer of /api/review
  image: null, // answer of /api/images/N
  revision: 0,
  undo: false,
  redo: false,
  objects: new Map(), // id -> object, those near what is shown
  before: new Map(), // the same of the other prediction
  dense: false, // whether they are too many to be drawn one by one
  selected: new Set(),
  tool: 'select',
  class: null,
  brush: 15,
  places: [],
  total: 0,
  accepted: 0,
  place: null, // index into places
  busy: 0,
};

export function select(ids) {
  state.selected = new Set(ids);
  tell('selection');
}

export function setTool(name) {
  state.tool = name;
  tell('tool');
}

export function setClass(name) {
  state.class = name;
  tell('class');
}

export function say(text, kind = 'note') {
  tell('message', { text, kind });
}

function take(map, object) {
  if (object.kind === 'bitmap') object.mask = Mask.fromJson(object.bitmap);
  map.set(object.id, object);
}

// --- loading ---

export async function start() {
  state.review = await get('/api/review');
  Object.assign(state, {
    revision: state.review.revision,
    undo: state.review.undo,
    redo: state.review.redo,
    class: state.review.classes[0]?.name ?? null,
  });
  await loadPlaces();
  tell('review');
  await goTo(0);
}

export async function openImage(number) {
  if (state.image?.id === number) return;
  const image = await get(`/api/images/${number}`);
  state.image = image;
  state.objects.clear();
  state.before.clear();
  select([]);
  tell('image');
}

let loading = 0;

// Objects of a box. The latest question counts: answers to earlier ones are dropped.
export async function loadObjects(box) {
  const turn = ++loading;
  const query = { box: box.join(',') };
  const image = state.image.id;
  const layers = state.review.before ? ['now', 'before'] : ['now'];
  const answers = await Promise.all(layers.map((layer) => get(`/api/objects/${image}`, { ...query, layer })));
  if (turn !== loading || state.image.id !== image) return;
  const [now, before] = answers;
  if (now.revision !== state.revision) {
    await refreshFacts();
    if (turn !== loading || state.image.id !== image) return;
    // There was an edit while the answer was on its way: the next one would be made on what is no more.
    if (now.revision !== state.revision) {
      await loadObjects(box);
      return;
    }
  }
  state.dense = Boolean(now.dense || before?.dense);
  state.objects.clear();
  state.before.clear();
  if (!state.dense) {
    for (const object of now.objects) take(state.objects, object);
    for (const object of before?.objects ?? []) take(state.before, object);
  }
  tell('objects');
}

// An answer holds at most 20,000 places, and the random fifth of a huge scene reaches to the end of its list.
export async function loadPlaces() {
  const places = [];
  let answer;
  do {
    const part = await get('/api/places', { from: places.length, count: 20000 });
    // With an edit between two parts, the earlier one tells what is no more.
    if (part.revision < state.revision || (answer && part.revision !== answer.revision)) {
      await loadPlaces();
      return;
    }
    answer = part;
    places.push(...part.places);
  } while (answer.places.length && places.length < answer.total);
  state.places = places;
  state.total = answer.total;
  state.accepted = answer.accepted;
  tell('places');
}

async function refreshFacts() {
  const { revision, undo, redo, accepted } = await get('/api/review');
  Object.assign(state, { revision, undo, redo, accepted });
  tell('facts');
}

// Another page may have edited: see what stands now.
export async function reload() {
  await refreshFacts();
  await loadPlaces();
  const { tags } = await get(`/api/images/${state.image.id}`);
  state.image.tags = tags;
  tell('stale');
}

export async function lookForOthers() {
  if (state.busy || !state.image) return;
  const { revision } = await get('/api/changes', { since: state.revision });
  if (revision !== state.revision && !state.busy) await reload();
}

// --- edits: one after the other, in the order they were made ---

let queue = Promise.resolve();

function inOrder(task) {
  state.busy += 1;
  const result = queue.then(task).finally(() => {
    state.busy -= 1;
    tell('facts');
  });
  queue = result.catch(() => {});
  return result;
}

async function step(path, document) {
  try {
    const answer = await post(path, { revision: state.revision, ...document });
    await apply(answer);
    return answer;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 409) {
      await reload();
      say('Another page has edited meanwhile. This shows what stands now: please do it again.', 'error');
    } else {
      say(error.message, 'error');
      tell('objects'); // as they were
    }
    return null;
  }
}

export function edit(op) {
  const image = state.image.id;
  return inOrder(() => step('/api/edit', { image, op }));
}

export const undo = () => inOrder(() => step('/api/undo', {}));
export const redo = () => inOrder(() => step('/api/redo', {}));

async function apply(answer) {
  Object.assign(state, { revision: answer.revision, undo: answer.undo, redo: answer.redo });
  for (const [place, , status] of answer.marks) {
    const row = state.places.find((one) => one.id === place);
    if (row) {
      state.accepted += (status === 'accepted') - (row.status === 'accepted');
      row.status = status;
    }
  }
  if (answer.marks.length) tell('places');
  if (answer.image !== state.image.id && answer.box) await openImage(answer.image);
  if (answer.image === state.image.id) {
    state.image.tags = answer.tags;
    if (!state.dense) {
      const gone = new Set(answer.gone);
      for (const id of gone) state.objects.delete(id);
      for (const object of answer.new) take(state.objects, object);
      const kept = [...state.selected].filter((id) => state.objects.has(id));
      const lost = kept.length < state.selected.size;
      if (lost) select(kept);
    }
    tell('objects');
  }
  tell('changed', answer);
}

// --- the list ---

export async function goTo(index) {
  if (!state.places.length) {
    await openImage(0);
    return;
  }
  state.place = Math.min(Math.max(index, 0), state.places.length - 1);
  const place = state.places[state.place];
  await openImage(place.image);
  tell('place', place);
}

export const next = () => goTo((state.place ?? -1) + 1);
export const previous = () => goTo((state.place ?? 1) - 1);

// With objects selected it is they that are judged, else the place; then the next one comes.
export async function judge(status) {
  if (state.selected.size) {
    await edit({ op: 'status', ids: [...state.selected], status });
    return;
  }
  const place = state.places[state.place];
  if (!place) return;
  if (place.status !== status) {
    const answer = await edit({ op: 'mark', place: place.id, status });
    if (!answer) return;
  }
  await next();
}

export async function exportFiles() {
  try {
    const answer = await post('/api/export', {});
    say(`${answer.footprints} footprints written: ${Object.values(answer.files).join(', ')}`);
  } catch (error) {
    say(error.message, 'error');
  }
}
