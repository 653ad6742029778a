/*
 * Show the server's state, updated from time to time while the page is visible.
 *
 * People see a dot and a word; what operators want to know lies behind it.
 */

import * as api from './api.js';

const EVERY_MS = 5_000;
const WHILE_LOADING_MS = 1_000;

const field = (name) => document.getElementById(`status-${name}`);

export function watchStatus() {
  let timer = null;
  const look = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const ready = await show();
    timer = setTimeout(look, ready ? EVERY_MS : WHILE_LOADING_MS);
  };
  document.addEventListener('visibilitychange', look);
  look();
}

async function show() {
  try {
    const health = await api.get('health');
    const busy = loadOf(health);
    const state = !health.ready ? 'loading' : busy ? 'busy' : 'ready';
    put('state', !health.ready ? await loading() : busy ? 'Busy' : 'Ready');
    field('state').dataset.state = state;
    put('model', health.model);
    put('device', [health.device, health.dtype].filter(Boolean).join(', ') || '–');
    say('load', busy);
    put('streams', String(health.streams));
    return health.ready;
  } catch {
    field('state').dataset.state = 'gone';
    put('state', 'Not reachable');
    return false;
  }
}

async function loading() {
  const answer = await fetch(api.url('ready'), { cache: 'no-store' });
  return `Loading: ${api.describeLoading(await answer.json())}`;
}

/** The effect of the server's load on people; null if there is none. */
function loadOf({ overload_level: level, streams }) {
  if (level === 0) return null;
  return `${streams} listeners at once: words come less often`;
}

/** Show a line, or hide it if there is nothing to say. */
function say(name, text) {
  field(name).parentElement.hidden = text === null;
  if (text !== null) put(name, text);
}

function put(name, text) {
  if (field(name).textContent !== text) field(name).textContent = text;
}
