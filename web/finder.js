/*
 * Find words in a transcript, regardless of case and accents; also several in a row.
 */

import { say, write } from './interface-text.js';
import { fold } from './text.js';

const count = document.getElementById('find-count');
const previous = document.getElementById('find-previous');
const next = document.getElementById('find-next');

export class Finder {
  #input;
  #onFound;
  #words = [];
  #text = ''; // of all words, folded
  #starts = []; // where each begins in it
  #matches = []; // {first, last}, indexes of words
  #current = -1;
  #stale = false;

  /**
   * @param {HTMLInputElement} input
   * @param {(word: object, options: {focus: boolean}) => void} onFound
   */
  constructor(input, onFound) {
    this.#input = input;
    this.#onFound = onFound;
    input.addEventListener('input', () => this.#find());
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.#step(event.shiftKey ? -1 : 1);
      else if (event.key === 'Escape') this.#clear();
      else return;
      event.preventDefault();
    });
    previous.addEventListener('click', () => this.#step(-1));
    next.addEventListener('click', () => this.#step(1));
  }

  /** Words may be added during a search. */
  setWords(words) {
    this.#words = words;
    this.#stale = true;
    if (this.#input.value.trim()) this.#find({ go: false });
    else this.#show();
  }

  #clear() {
    this.#input.value = '';
    this.#find();
  }

  #index() {
    this.#stale = false;
    this.#text = '';
    this.#starts = [];
    for (const { text, space } of this.#words) {
      if (space && this.#text) this.#text += ' ';
      this.#starts.push(this.#text.length);
      this.#text += fold(text);
    }
  }

  #find({ go = true } = {}) {
    if (this.#stale) this.#index();
    for (const { first, last } of this.#matches) this.#toggle(first, last, 'found', false);
    this.#mark(false);
    this.#matches = [];
    this.#current = -1;
    const wanted = fold(this.#input.value.trim());
    for (let at = wanted ? this.#text.indexOf(wanted) : -1; at >= 0; at = this.#text.indexOf(wanted, at + wanted.length)) {
      this.#matches.push({ first: this.#wordAt(at), last: this.#wordAt(at + wanted.length - 1) });
    }
    for (const { first, last } of this.#matches) this.#toggle(first, last, 'found', true);
    if (go && this.#matches.length) this.#step(1);
    else this.#show();
  }

  #wordAt(at) {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  #step(by) {
    const n = this.#matches.length;
    if (!n) return;
    this.#mark(false);
    this.#current = this.#current < 0 ? (by > 0 ? 0 : n - 1) : (this.#current + by + n) % n;
    this.#mark(true);
    this.#onFound(this.#words[this.#matches[this.#current].first], { focus: false });
    this.#show();
  }

  #mark(on) {
    const match = this.#matches[this.#current];
    if (match) this.#toggle(match.first, match.last, 'current', on);
  }

  #toggle(first, last, name, on) {
    for (let k = first; k <= last; k += 1) this.#words[k]?.span.classList.toggle(name, on);
  }

  #show() {
    const n = this.#matches.length;
    previous.disabled = next.disabled = n === 0;
    const asked = this.#input.value.trim() !== '';
    const found = n ? say('find.count', { k: Math.max(0, this.#current) + 1, n }) : say('find.none');
    write(count, asked ? found : '');
  }
}
