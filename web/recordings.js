/*
 * The recordings of the page: those that wait, the one at work, those that are done.
 *
 * One is sent at a time, so that one person's folder leaves room for others. The list is
 * shown from two recordings on.
 */

import { say, write } from './interface-text.js';
import { clock } from './text.js';

const box = document.getElementById('recordings');
const list = document.getElementById('recordings-list');

/** A recording and what is known of it. */
export class Recording {
  static #newest = 0;
  state = 'waiting'; // waiting, active, done, failed
  told = say('file.waiting');
  share = 0; // of the work, from 0 to 1; null if unknown
  words = []; // {text, start, end, confidence, space, corrected}
  duration = null; // in seconds; null until all words are there
  language = null;
  heard = {}; // `language`, `probability` and `script` of the text, as far as they are known

  constructor(file) {
    this.id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    this.file = file;
    this.name = file?.name ?? '';
    // Files that are chosen together come in the same millisecond, and keep their order.
    this.when = Recording.#newest = Math.max(Date.now(), Recording.#newest + 1);
  }

  /** Make one that was kept; its sound was not. */
  static from(kept) {
    return Object.assign(new Recording(null), kept, { state: 'done' });
  }

  /** What is kept of it. */
  get kept() {
    const { id, name, when, words, duration, language, heard } = this;
    const plain = words.map(({ text, start, end, confidence, space, corrected }) =>
      ({ text, start, end, confidence, space, corrected }));
    return { id, name, when, words: plain, duration, language, heard };
  }
}

export class RecordingList {
  #rows = new Map();

  /** @param {{onShow, onRemove, onClear}} listener Is told what people press. */
  constructor(listener) {
    this.listener = listener;
    document.getElementById('recordings-clear').addEventListener('click', () => listener.onClear());
  }

  /** Show recordings, one of which is open. */
  render(recordings, shown) {
    box.hidden = recordings.length < 2;
    for (const [recording, { row }] of this.#rows) {
      if (recordings.includes(recording)) continue;
      row.remove();
      this.#rows.delete(recording);
    }
    for (const [k, recording] of recordings.entries()) {
      const { row, open, state, bar } = this.#rowOf(recording);
      if (list.children[k] !== row) list.insertBefore(row, list.children[k] ?? null);
      if (recording === shown) open.setAttribute('aria-current', 'true');
      else open.removeAttribute('aria-current');
      write(state, describe(recording));
      bar.hidden = recording.state !== 'active';
      if (recording.share === null) bar.removeAttribute('value');
      else bar.value = recording.share;
    }
  }

  #rowOf(recording) {
    const made = this.#rows.get(recording) ?? this.#make(recording);
    this.#rows.set(recording, made);
    return made;
  }

  #make(recording) {
    const row = document.createElement('li');
    const open = document.createElement('button');
    open.type = 'button';
    open.className = 'recording-name';
    open.textContent = recording.name;
    open.addEventListener('click', () => this.listener.onShow(recording));
    const state = document.createElement('span');
    state.className = 'recording-state';
    const bar = document.createElement('progress');
    bar.max = 1;
    bar.setAttribute('aria-label', recording.name);
    const remove = document.createElement('button');
    remove.type = 'button';
    remove.className = 'recording-remove';
    remove.textContent = '×';
    write(remove, say('file.remove-one', { name: recording.name }), 'aria-label');
    remove.addEventListener('click', () => this.listener.onRemove(recording));
    row.append(open, state, bar, remove);
    return { row, open, state, bar };
  }
}

function describe({ state, told, duration }) {
  if (state === 'done') return duration === null ? say('file.done') : clock(duration);
  return state === 'failed' ? say('file.failed') : told;
}
