/*
 * Draw how loud the microphone is: the last seconds, newest at the right.
 */

import { say, write } from './interface-text.js';

const SILENCE_DB = -60;
const BAR_PX = 3;
const GAP_PX = 2;

export class LevelMeter {
  #element;
  #canvas;
  #levels = [];
  #loudest = SILENCE_DB;
  #drawing = null;

  constructor(element) {
    this.#element = element;
    this.#canvas = element.querySelector('canvas');
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.clear();
  }

  /** @param {number} level Root mean square of some samples. */
  add(level) {
    const db = Math.max(SILENCE_DB, 20 * Math.log10(level || 1e-9));
    this.#loudest = Math.max(this.#loudest, db);
    this.#drawing ??= requestAnimationFrame(() => this.#draw());
  }

  clear() {
    this.#levels = [];
    this.#loudest = SILENCE_DB;
    this.#draw();
  }

  #draw() {
    this.#drawing = null;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const n = Math.floor(width / (BAR_PX + GAP_PX));
    this.#levels = [...this.#levels, this.#loudest].slice(-n);
    this.#say(this.#loudest);
    this.#loudest = SILENCE_DB;
    const pen = this.#canvas.getContext('2d');
    pen.scale(scale, scale);
    const { color, accentColor } = getComputedStyle(this.#canvas);
    // Without motion: one bar that grows and shrinks in its place.
    const share = (db) => (db - SILENCE_DB) / -SILENCE_DB;
    for (let k = 0; k < n; k += 1) {
      const level = this.still.matches
        ? Number(k / n < share(this.#levels.at(-1)))
        : share(this.#levels.at(k - n) ?? SILENCE_DB);
      const tall = Math.max(2, level * height);
      pen.fillStyle = level > 0.02 ? accentColor : color;
      pen.fillRect(k * (BAR_PX + GAP_PX), (height - tall) / 2, BAR_PX, tall);
    }
  }

  #say(db) {
    this.#element.setAttribute('aria-valuenow', String(Math.round(db)));
    const level = db < -50 ? 'silent' : db < -35 ? 'quiet' : db < -6 ? 'good' : 'loud';
    write(this.#element, say(`level.${level}`), 'aria-valuetext');
  }
}
