/*
 * Play a recording and its words together.
 *
 * A click on a word plays from there. The spoken word is marked, and so are words that
 * the model was not sure of. For the keyboard the transcript is one stop: arrow keys go
 * from word to word, so that Tab does not stop at thousands of them.
 */

import { Finder } from './finder.js';
import { percent, say, write } from './interface-text.js';
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
const noteBox = element('wave-note');

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
  #correcting = false;
  #onCorrect;

  /** @param {{onCorrect: () => void}} listener Is told after a word was corrected. */
  constructor({ onCorrect }) {
    this.#onCorrect = onCorrect;
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
    write(element('unsure-note'), say('words.unsure', { limit: percent(UNSURE) }));
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

  get correcting() {
    return this.#correcting;
  }

  /** Whether a click on a word corrects it instead of playing it. */
  set correcting(on) {
    this.#correcting = on;
    box.classList.toggle('correcting', on);
  }

  setLanguage(language) {
    this.#language = language;
    dress(box, language, this.#heard);
  }

  /**
   * Open a recording and the words that are known of it.
   *
   * @param {File | null} file Its sound; null if it is not here.
   * @param {object[]} words Corrections change them.
   */
  open(file, words) {
    audio.pause();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#file = file;
    this.#address = file && URL.createObjectURL(file);
    this.#words = [];
    this.#paragraph = this.#spoken = this.#focused = this.#heard = null;
    this.#duration = NaN;
    this.#end = null;
    this.#drawn = false;
    this.#waveform.peaks = null;
    box.replaceChildren();
    noteBox.hidden = true;
    element('unsure-note').hidden = true;
    play.disabled = seek.disabled = !file;
    this.#finder.setWords([]);
    if (file) audio.src = this.#address;
    else {
      audio.removeAttribute('src');
      audio.load();
      note(say('player.no-sound'));
    }
    audio.playbackRate = audio.defaultPlaybackRate = Number(element('speed').value);
    this.add(words);
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
    word.span.tabIndex = -1;
    word.span.dataset.index = String(this.#words.length);
    this.#write(word);
    this.#paragraph.append(word.span);
  }

  #write(word) {
    word.span.textContent = word.text;
    const unsure = word.confidence < UNSURE && !word.corrected;
    word.span.classList.toggle('unsure', unsure);
    word.span.classList.toggle('corrected', Boolean(word.corrected));
    if (unsure) {
      write(word.span, say('words.sure', { share: percent(word.confidence) }), 'title');
      element('unsure-note').hidden = false;
    } else write(word.span, null, 'title');
  }

  // --- corrections ---

  /** Put a field in the place of a word; Enter or leaving takes the correction. */
  #correct(word) {
    const field = document.createElement('input');
    field.type = 'text';
    field.className = 'correction';
    field.value = word.text;
    write(field, say('words.correct-one', { word: word.text }), 'aria-label');
    const fit = () => { field.style.width = `${Math.max(2, field.value.length + 1)}ch`; };
    fit();
    let open = true;
    const leave = (taken, { focus = true } = {}) => {
      if (!open) return;
      open = false;
      this.#take(word, taken ? field.value : word.text);
      if (focus && word.span.isConnected) this.#focus(word);
    };
    field.addEventListener('input', fit);
    field.addEventListener('blur', () => leave(true, { focus: false }));
    field.addEventListener('keydown', (event) => {
      event.stopPropagation(); // letters and arrows are the field's
      if (event.key !== 'Enter' && event.key !== 'Escape') return;
      event.preventDefault();
      leave(event.key === 'Enter');
    });
    word.span.replaceChildren(field);
    field.focus();
    field.select();
  }

  /** Take a corrected text; an empty one removes the word. */
  #take(word, written) {
    const text = written.trim().replaceAll(/\s+/g, ' ');
    const changed = text !== word.text;
    if (text) {
      word.text = text;
      word.corrected ||= changed;
      this.#write(word);
    } else this.#drop(word);
    if (!changed) return;
    this.#finder.setWords(this.#words);
    this.#onCorrect();
  }

  #drop(word) {
    const at = this.#words.indexOf(word);
    const next = this.#words[at + 1];
    if (word.begins && next && next.span.parentElement === word.span.parentElement) next.begins = true;
    this.#words.splice(at, 1);
    this.#words.slice(at).forEach((own, k) => { own.span.dataset.index = String(at + k); });
    if (this.#focused === word) this.#focused = null;
    if (this.#spoken === word) this.#spoken = null;
    const paragraph = word.span.parentElement;
    word.span.remove();
    if (!paragraph.querySelector('.word')) paragraph.closest('.paragraph').remove();
  }

  #wordOf(span) {
    return this.#words[Number(span.dataset.index)];
  }

  #pick(span) {
    // A selection of text must not start playing.
    if (!span || getSelection().toString() || span.querySelector('input')) return;
    if (this.#correcting) this.#correct(this.#wordOf(span));
    else this.#playFrom(this.#wordOf(span));
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
    else if (key === 'F2' && this.#focused) this.#correct(this.#focused);
    else if ((key === 'Enter' || key === ' ') && this.#focused) this.#pick(this.#focused.span);
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
    if (audio.duration > MAX_DRAWN_S) note(say('player.too-long'));
    this.#drawWords();
  }

  #silent() {
    if (!audio.error || !audio.getAttribute('src')) return;
    play.disabled = seek.disabled = true;
    note(say('player.cannot-play'));
    this.#drawWords();
  }

  #drawWords() {
    if (this.#drawn || !Number.isFinite(this.#duration)) return;
    this.#waveform.peaks = peaksOfWords(this.#words, this.#duration);
  }

  #render() {
    write(play, say(audio.paused ? 'player.play' : 'player.pause'));
  }

  /** Show where the sound is; again with the next picture while it plays. */
  #follow() {
    const now = audio.currentTime;
    const known = Number.isFinite(this.#duration);
    position.textContent = `${clock(now)} / ${known ? clock(this.#duration) : '–'}`;
    seek.value = String(now);
    const time = clock(now);
    const told = known ? say('player.position-of', { time, length: clock(this.#duration) }) : say('player.position-unknown', { time });
    write(seek, told, 'aria-valuetext');
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

function note(message) {
  write(noteBox, message);
  noteBox.hidden = false;
}

/** Scroll to a word that is out of sight. */
function reveal(span) {
  const { top, bottom } = span.getBoundingClientRect();
  if (top < 80 || bottom > innerHeight - 120) span.scrollIntoView({ block: 'center' });
}
