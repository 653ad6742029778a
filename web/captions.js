/*
 * Show live text: confirmed words solid, words that may still change light.
 *
 * An utterance is a paragraph. The newest is rewritten as it grows and is replaced by
 * its final text; the others stay as they are. Screen readers are told confirmed words
 * only, a few at a time, in a region of their own.
 */

import { write } from './interface-text.js';
import { dress } from './languages.js';
import { clock, joined, shifted } from './text.js';

// Fewer would make a screen reader stutter.
const ANNOUNCED_WORDS = 6;
const MAX_ANNOUNCED = 20;

const box = document.getElementById('captions');
const empty = document.getElementById('captions-empty');
const toNewest = document.getElementById('to-newest');
const spoken = document.getElementById('spoken');

export class Captions {
  #open = null; // {paragraph, committed, pending} of what is not final
  #finals = []; // {text, words, start, end, language} of utterances, in order
  #announced = 0; // letters of the open utterance that were
  #follows = true;
  #language = null;

  constructor() {
    box.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    toNewest.addEventListener('click', () => this.#follow());
  }

  /** Words of what is final, in order, with spaces between utterances of words that have them. */
  get words() {
    return this.#finals.flatMap(({ words }) => {
      const space = words.length === 1 || words.some((word) => word.space);
      return words.map((word, k) => (k === 0 ? { ...word, space } : word));
    });
  }

  get text() {
    const open = this.#open ? [this.#open.paragraph.textContent] : [];
    return [...this.#finals.map(({ text }) => text), ...open].filter(Boolean).join('\n');
  }

  get isEmpty() {
    return this.text === '';
  }

  setLanguage(language) {
    this.#language = language;
    for (const paragraph of box.querySelectorAll('.utterance')) {
      dress(paragraph, language, paragraph.dataset.heard);
    }
  }

  partial({ confirmed, pending, language }) {
    this.#open ??= this.#begin();
    this.#open.committed.textContent = confirmed;
    this.#open.pending.textContent = pending;
    this.#dress(this.#open.paragraph, language);
    this.#announce(confirmed, { whole: false });
    this.#show();
  }

  final(utterance) {
    const { paragraph } = this.#open ?? this.#begin();
    this.#open = null;
    if (!utterance.text) {
      paragraph.remove();
    } else {
      this.#finals.push(utterance);
      paragraph.replaceChildren(joined(utterance.words) || utterance.text);
      this.#close(paragraph, utterance);
      this.#announce(utterance.text, { whole: true });
    }
    this.#announced = 0;
    this.#show();
  }

  /** What is kept, to show it again after a reload. */
  get kept() {
    return this.#finals;
  }

  /** Show what was kept. */
  restore(finals) {
    for (const utterance of finals) {
      const { paragraph } = this.#begin();
      paragraph.replaceChildren(joined(utterance.words) || utterance.text);
      this.#close(paragraph, utterance);
    }
    this.#finals = [...finals];
    this.#show();
  }

  #close(paragraph, { words, start, language }) {
    paragraph.classList.remove('open');
    if (words.length) paragraph.dataset.time = clock(start);
    this.#dress(paragraph, language);
  }

  /** End an utterance that will get no final; its text so far stays. */
  giveUp() {
    if (!this.#open) return;
    const { paragraph } = this.#open;
    this.#open = null;
    const text = paragraph.textContent;
    if (text) this.#finals.push({ text, words: [], start: 0, end: 0, language: null });
    else paragraph.remove();
    paragraph.classList.remove('open');
    this.#announced = 0;
  }

  /** Say, where it happened, that something is missing. */
  gap(message) {
    const paragraph = document.createElement('p');
    paragraph.className = 'gap';
    write(paragraph, message);
    box.insertBefore(paragraph, this.#open?.paragraph ?? null);
    this.#show();
  }

  /** Remove all text; the returned function undoes that, and moves newer text by seconds. */
  clear() {
    const [finals, shown] = [this.#finals, box.querySelectorAll('p:not(.empty)')];
    this.#finals = [];
    this.#open = null;
    this.#announced = 0;
    shown.forEach((paragraph) => paragraph.remove());
    empty.hidden = false;
    spoken.replaceChildren();
    this.#follow();
    return (seconds) => {
      this.#finals = [...finals, ...this.#finals.map((own) => shifted(own, seconds))];
      empty.after(...shown);
      empty.hidden = true;
      this.#follow();
    };
  }

  #begin() {
    empty.hidden = true;
    const paragraph = document.createElement('p');
    paragraph.className = 'utterance open';
    const [committed, pending] = ['committed', 'pending'].map((name) => {
      const span = document.createElement('span');
      span.className = name;
      return span;
    });
    paragraph.append(committed, pending);
    box.append(paragraph);
    return { paragraph, committed, pending };
  }

  #dress(paragraph, heard) {
    if (heard) paragraph.dataset.heard = heard;
    dress(paragraph, this.#language, heard);
  }

  /** A final may correct announced words; reading continues after their end. */
  #announce(text, { whole }) {
    const fresh = text.slice(this.#announced);
    const enough = whole || fresh.trim().split(/\s+/u).length >= ANNOUNCED_WORDS;
    if (!fresh.trim() || !enough) return;
    const line = document.createElement('p');
    line.textContent = fresh.trim();
    spoken.append(line);
    this.#announced = text.length;
    while (spoken.children.length > MAX_ANNOUNCED) spoken.firstChild.remove();
  }

  // --- the newest text is in sight, unless the reader has scrolled back ---

  #show() {
    if (this.#follows) box.scrollTop = box.scrollHeight;
    else toNewest.hidden = false;
  }

  #scrolled() {
    this.#follows = box.scrollTop + box.clientHeight > box.scrollHeight - 48;
    if (this.#follows) toNewest.hidden = true;
  }

  #follow() {
    this.#follows = true;
    toNewest.hidden = true;
    box.scrollTop = box.scrollHeight;
  }
}
