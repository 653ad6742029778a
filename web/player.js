/*
 * Play a recording and its words together.
 *
 * A click on a word plays from there. The spoken word is marked, and so are words that
 * the model was not sure of. For the keyboard the transcript is one stop: arrow keys go
 * from word to word, so that Tab does not stop at thousands of them.
 */

import { Finder } from './finder.js';
import { dress } from './languages.js';
import { clock, joined } from './text.js';
import { MAX_DRAWN_S, Waveform, peaksOf, peaksOfWords } from './waveform.js';

// Words with less confidence are marked. Chosen on a few clips, not calibrated: some wrong
// words have more, and in clean speech few right words have less.
const UNSURE = 0.8;

// A paragraph ends at a pause, once it has some length, or at one that is long.
const PARAGRAPH_WORDS = 40;
const PAUSE_S = 0.8;
const LONG_PAUSE_S = 2;

const STEP_S = 5;

const element = (id) => document.getElementById(id);
const audio = element('audio');
const play = element('play');
const seek = element('seek');
const position = element('position');
const box = element('words');
const note = element('wave-note');

export class Player {
  #words = []; // {text, start, end, confidence, space, span}
  #file = null;
  #address = null;
  #waveform = new Waveform(element('wave').querySelector('canvas'));
  #finder = new Finder(element('find'), (word, options) => this.#focus(word, options));
  #paragraph = null;
  #duration = NaN;
  #end = null;
  #heard = null; // the language of the text
  #language = null;
  #spoken = null;
  #focused = null;
  #drawn = false;

  constructor() {
    play.addEventListener('click', () => this.#toggle());
    element('speed').addEventListener('change', ({ target }) => {
      audio.playbackRate = Number(target.value);
    });
    seek.addEventListener('input', () => this.#go(Number(seek.value)));
    seek.addEventListener('keydown', (event) => this.#pressSeek(event));
    box.addEventListener('click', ({ target }) => this.#pick(target.closest('.word')));
    box.addEventListener('keydown', (event) => this.#press(event));
    audio.addEventListener('loadedmetadata', () => this.#known());
    audio.addEventListener('error', () => this.#silent());
    for (const event of ['play', 'pause', 'ended']) audio.addEventListener(event, () => this.#render());
    for (const event of ['timeupdate', 'seeked', 'play']) audio.addEventListener(event, () => this.#follow());
    element('unsure-limit').textContent = `${UNSURE * 100} %`;
  }

  get words() {
    return this.#words;
  }

  /** Paragraphs, a line each. */
  get text() {
    const runs = [];
    for (const word of this.#words) {
      if (word.begins) runs.push([]);
      runs.at(-1).push(word);
    }
    return runs.map(joined).join('\n');
  }

  /** Length in seconds, from the browser or the server; NaN if neither knows it. */
  get duration() {
    return this.#duration;
  }

  /** Length in seconds, from the server, for subtitles; null until all words are there. */
  get end() {
    return this.#end;
  }

  setLanguage(language) {
    this.#language = language;
    dress(box, language, this.#heard);
  }

  open(file) {
    audio.pause();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#file = file;
    this.#address = URL.createObjectURL(file);
    this.#words = [];
    this.#paragraph = this.#spoken = this.#focused = this.#heard = null;
    this.#duration = NaN;
    this.#end = null;
    this.#drawn = false;
    this.#waveform.peaks = null;
    box.replaceChildren();
    note.hidden = true;
    element('unsure-note').hidden = true;
    play.disabled = seek.disabled = false;
    this.#finder.setWords([]);
    audio.src = this.#address;
    audio.playbackRate = audio.defaultPlaybackRate = Number(element('speed').value);
    this.#follow();
  }

  /** Add words that were found. */
  add(words) {
    const all = document.createDocumentFragment();
    for (const word of words) {
      this.#place(word, all);
      this.#words.push(word);
    }
    box.append(all);
    this.#finder.setWords(this.#words);
    this.#drawWords();
  }

  /** Exchange all words for their written form. */
  rewrite(words) {
    this.#words = [];
    this.#paragraph = this.#spoken = this.#focused = null;
    box.replaceChildren();
    this.add(words);
  }

  /** All words are there. */
  finish({ duration, language }) {
    this.#end = duration;
    if (!Number.isFinite(this.#duration)) this.#duration = duration;
    this.#heard = language;
    dress(box, this.#language, language);
    if (!audio.error && !Number.isFinite(audio.duration)) seek.max = String(duration);
    this.#drawWords();
    this.#follow();
  }

  // --- words ---

  #place(word, rest) {
    const last = this.#words.at(-1);
    const pause = last ? word.start - last.end : Infinity;
    const long = (this.#paragraph?.childElementCount ?? 0) > PARAGRAPH_WORDS;
    word.begins = pause >= LONG_PAUSE_S || (long && pause >= PAUSE_S);
    if (word.begins) {
      this.#paragraph = document.createElement('p');
      const time = document.createElement('time');
      time.textContent = clock(word.start);
      const line = document.createElement('div');
      line.className = 'paragraph';
      line.append(time, this.#paragraph);
      rest.append(line);
    } else if (word.space) this.#paragraph.append(' ');
    word.span = document.createElement('span');
    word.span.className = 'word';
    word.span.textContent = word.text;
    word.span.tabIndex = -1;
    word.span.dataset.index = String(this.#words.length);
    if (word.confidence < UNSURE) {
      word.span.classList.add('unsure');
      word.span.title = `${Math.round(word.confidence * 100)} % sure`;
      element('unsure-note').hidden = false;
    }
    this.#paragraph.append(word.span);
  }

  #wordOf(span) {
    return this.#words[Number(span.dataset.index)];
  }

  #pick(span) {
    // A selection of text must not start playing.
    if (!span || getSelection().toString()) return;
    this.#playFrom(this.#wordOf(span));
  }

  #playFrom(word) {
    this.#focused = word;
    if (audio.error) return;
    audio.currentTime = word.start;
    audio.play().catch(() => {}); // told by the event
  }

  #press(event) {
    const { key } = event;
    const at = this.#focused ? Number(this.#focused.span.dataset.index) : -1;
    const rtl = getComputedStyle(box).direction === 'rtl';
    const step = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, ArrowDown: 10, ArrowUp: -10 }[key];
    const last = this.#words.length - 1;
    if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) this.#focus(this.#words[at < 0 ? 0 : Math.max(0, Math.min(last, at + step))]);
    else if (key === 'Home') this.#focus(this.#words[0]);
    else if (key === 'End') this.#focus(this.#words[last]);
    else if ((key === 'Enter' || key === ' ') && this.#focused) this.#playFrom(this.#focused);
    else return;
    event.preventDefault();
  }

  #focus(word, { focus = true } = {}) {
    this.#focused = word;
    if (focus) word.span.focus({ preventScroll: true });
    reveal(word.span);
  }

  // --- sound ---

  #toggle() {
    if (audio.paused) audio.play().catch(() => {});
    else audio.pause();
  }

  #go(seconds) {
    audio.currentTime = seconds;
    this.#follow();
  }

  #pressSeek(event) {
    const step = { ArrowRight: STEP_S, ArrowUp: STEP_S, ArrowLeft: -STEP_S, ArrowDown: -STEP_S }[event.key];
    if (!step) return;
    event.preventDefault();
    this.#go(Math.max(0, audio.currentTime + step));
  }

  async #known() {
    if (Number.isFinite(audio.duration)) {
      this.#duration = audio.duration;
      seek.max = String(audio.duration);
    }
    this.#follow();
    const file = this.#file;
    const peaks = await peaksOf(file, audio.duration);
    if (file !== this.#file) return;
    if (peaks) {
      this.#drawn = true;
      this.#waveform.peaks = peaks;
      return;
    }
    if (audio.duration > MAX_DRAWN_S) say('This recording is too long to draw; the strip shows where words are.');
    this.#drawWords();
  }

  #silent() {
    if (!audio.error || !audio.getAttribute('src')) return;
    play.disabled = seek.disabled = true;
    say('This browser cannot play this kind of file. Its words and their times are here all the same.');
    this.#drawWords();
  }

  #drawWords() {
    if (this.#drawn || !Number.isFinite(this.#duration)) return;
    this.#waveform.peaks = peaksOfWords(this.#words, this.#duration);
  }

  #render() {
    play.textContent = audio.paused ? 'Play' : 'Pause';
  }

  /** Show where the sound is; again with the next picture while it plays. */
  #follow() {
    const now = audio.currentTime;
    const known = Number.isFinite(this.#duration);
    position.textContent = `${clock(now)} / ${known ? clock(this.#duration) : '–'}`;
    seek.value = String(now);
    seek.setAttribute('aria-valuetext', `${clock(now)} of ${known ? clock(this.#duration) : 'unknown'}`);
    this.#waveform.share = known ? now / this.#duration : 0;
    this.#mark(this.#spokenAt(now));
    if (!audio.paused && !this.#frame) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = null;
        this.#follow();
      });
    }
  }

  #frame = null;

  /** The word at a time: the last one that has begun, until it has ended. */
  #spokenAt(seconds) {
    let [low, high] = [0, this.#words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#words[middle].start <= seconds + 0.005) low = middle + 1;
      else high = middle;
    }
    const word = this.#words[low - 1];
    return word && seconds < word.end ? word : null;
  }

  #mark(word) {
    if (word === this.#spoken) return;
    this.#spoken?.span.classList.remove('spoken');
    this.#spoken = word;
    if (!word) return;
    word.span.classList.add('spoken');
    if (!audio.paused) reveal(word.span);
  }
}

function say(text) {
  note.textContent = text;
  note.hidden = false;
}

/** Scroll to a word that is out of sight. */
function reveal(span) {
  const { top, bottom } = span.getBoundingClientRect();
  if (top < 80 || bottom > innerHeight - 120) span.scrollIntoView({ block: 'center' });
}
