import 'ol/ol.css';
import './style.css';
import { build } from './panel.js';
import { listen } from './keys.js';
import * as page from './state.js';
import { map, shapes } from './map.js';
import { strokeMask } from './masks.js';
import './tools.js';

build();
listen();
page
  .start()
  .then(() => setInterval(() => page.lookForOthers().catch((error) => page.say(error.message, 'error')), 10000))
  .catch((error) => page.say(error.message, 'error'));

// For the console, and for tests.
window.review = { ...page, map, shapes, strokeMask };
