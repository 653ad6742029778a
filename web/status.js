/*
 * Show the server's state, updated from time to time while the page is visible.
 *
 * People see a dot and a word; what operators want to know lies behind it.
 */

import * as api from './api.js';
import { say, write } from './interface-text.js';

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
    write(field('state'), !health.ready ? await loading() : say(busy ? 'status.busy' : 'status.ready'));
    field('state').dataset.state = state;
    write(field('model'), health.model);
    write(field('device'), [health.device, health.dtype].filter(Boolean).join(', ') || '–');
    put('load', busy);
    write(field('streams'), String(health.streams));
    return health.ready;
  } catch {
    field('state').dataset.state = 'gone';
    write(field('state'), say('status.gone'));
    return false;
  }
}

async function loading() {
  const answer = await fetch(api.url('ready'), { cache: 'no-store' });
  return say('status.loading', { stage: api.describeLoading(await answer.json()) });
}

/** The effect of the server's load on people; null if there is none. */
function loadOf({ overload_level: level, streams }) {
  if (level === 0) return null;
  return say('status.crowded', { n: streams });
}

/** Show a line, or hide it if there is nothing to say. */
function put(name, message) {
  field(name).parentElement.hidden = message === null;
  if (message !== null) write(field(name), message);
}
