/*
 * The view of recordings: from files to transcripts that can be played and corrected.
 *
 * Each takes one request, one after another. The browser reports the progress of the
 * upload; then the server sends words with their times as it finds them, which shows its
 * progress. What is done is kept in the browser.
 */

import * as api from './api.js';
import { hand } from './export.js';
import { megabytes, percent, say, serverSays, write } from './interface-text.js';
import { withKey } from './key.js';
import { describeHeard } from './languages.js';
import { tell, untell, warn } from './notices.js';
import { Player } from './player.js';
import { Recording, RecordingList } from './recordings.js';
import * as store from './store.js';
import { clock, spaced } from './text.js';

const drop = document.getElementById('drop');
const chooser = document.getElementById('file');
const job = document.getElementById('job');
const progress = document.getElementById('progress');
const bar = document.getElementById('progress-bar');
const text = document.getElementById('progress-text');
const heard = document.getElementById('file-heard');
const actions = document.getElementById('file-actions');

export class FileView {
  #player = new Player({ onCorrect: () => this.#corrected() });
  #list = new RecordingList({
    onShow: (recording) => this.#open(recording),
    onRemove: (recording) => this.#remove([recording]),
    onClear: () => this.#remove([...this.#recordings]),
  });
  #recordings = [];
  #shown = null;
  #active = null; // the one that is sent
  #language = null;
  #keywords = [];
  #request = null;
  #limits = null;

  /** @param {{onFile: () => void}} listener Told when a file is dropped, in any view. */
  constructor({ onFile }) {
    chooser.addEventListener('change', () => {
      const files = [...chooser.files];
      chooser.value = '';
      this.#take(files);
    });
    this.#listenForDrops(onFile);
    document.getElementById('job-other').addEventListener('click', () => chooser.click());
    document.getElementById('job-remove').addEventListener('click', () => this.#remove([this.#shown]));
    document.getElementById('job-cancel').addEventListener('click', () => this.#remove([this.#shown]));
    document.getElementById('job-correct').addEventListener('click', ({ target }) => {
      this.#player.correcting = !this.#player.correcting;
      target.setAttribute('aria-pressed', String(this.#player.correcting));
    });
    actions.addEventListener('click', ({ target }) => this.#act(target.dataset.action));
    addEventListener('beforeunload', (event) => {
      if (this.#recordings.some(({ state }) => state === 'active' || state === 'waiting')) event.preventDefault();
    });
    this.#learnLimits();
    this.#restore();
  }

  setLanguage(language) {
    this.#language = language;
    this.#player.setLanguage(language);
  }

  /** Of the next recording. */
  setKeywords(keywords) {
    this.#keywords = keywords;
  }

  #listenForDrops(onFile) {
    let depth = 0;
    const over = (step) => {
      depth = Math.max(0, depth + step);
      document.body.classList.toggle('dropping', depth > 0);
    };
    const carries = ({ dataTransfer }) => [...dataTransfer.types].includes('Files');
    addEventListener('dragenter', (event) => carries(event) && over(1));
    addEventListener('dragleave', (event) => carries(event) && over(-1));
    addEventListener('dragover', (event) => carries(event) && event.preventDefault());
    addEventListener('drop', (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      over(-depth);
      onFile();
      this.#take([...event.dataTransfer.files]);
    });
  }

  async #learnLimits() {
    try {
      this.#limits = (await api.about()).limits;
      const size = megabytes(this.#limits.max_upload_bytes);
      write(document.getElementById('drop-limit'), say('drop.limit', { size }));
    } catch { /* the server says so itself when it comes to that */ }
  }

  // --- recordings come and go ---

  /** Transcribe a recording that is not chosen here. */
  open(file) {
    this.#take([file]);
  }

  async #restore() {
    const kept = (await store.texts()).map((text) => Recording.from(text));
    this.#recordings.unshift(...kept);
    if (!this.#shown && kept.length) this.#open(kept.at(-1));
    else this.#render();
  }

  #take(files) {
    if (!files.length) return;
    const fresh = files.map((file) => new Recording(file));
    this.#recordings.push(...fresh);
    if (!this.#active) this.#open(fresh[0]);
    this.#render();
    this.#next();
  }

  #remove(recordings) {
    this.#recordings = this.#recordings.filter((own) => !recordings.includes(own));
    for (const recording of recordings) store.forget(recording.id);
    if (recordings.includes(this.#active)) this.#cancel();
    if (recordings.includes(this.#shown)) this.#open(this.#recordings.at(-1) ?? null);
    this.#render();
    this.#next();
  }

  #cancel() {
    this.#active = null;
    this.#request?.abort();
    this.#request = null;
  }

  /** Show a recording; none shows only where to drop one. */
  #open(recording) {
    this.#shown = recording;
    ['file', 'recording_cut_off'].forEach(untell);
    this.#player.open(recording?.file ?? null, recording?.words ?? []);
    if (recording?.duration != null) this.#player.finish(recording);
    if (recording?.error) this.#tellError(recording);
    this.#render();
  }

  // --- one after another ---

  async #next() {
    if (this.#active) return;
    const recording = this.#recordings.find(({ state }) => state === 'waiting');
    if (!recording) return;
    this.#active = recording;
    recording.state = 'active';
    if (!this.#shown) this.#open(recording);
    try {
      this.#refuseLarge(recording.file);
      this.#show(recording, say('file.asking'), null);
      await withKey(api.check);
      if (this.#active === recording) await withKey(() => this.#send(recording));
    } catch (error) {
      if (this.#active === recording) this.#fail(recording, error);
    }
    if (this.#active !== recording) return; // it was removed, and the next is at work
    this.#active = null;
    this.#next();
  }

  #refuseLarge({ size }) {
    const most = this.#limits?.max_upload_bytes ?? Infinity;
    if (size <= most) return;
    const message = say('file.too-large', { size: megabytes(size), limit: megabytes(most) });
    throw new api.ApiError(message, { status: 413 });
  }

  #fail(recording, error) {
    recording.state = 'failed';
    recording.error = error;
    if (recording === this.#shown) this.#tellError(recording);
    this.#render();
  }

  /** Where the next file can be dropped, unless there are words to keep. */
  #tellError({ name, error }) {
    const again = error.status !== 400 && error.status !== 413;
    tell('file', say('file.error', { name, why: explain(error) }), {
      region: document.getElementById('file-notices'),
      action: again ? { label: say('file.again'), run: () => this.#again() } : null,
    });
  }

  #again() {
    const recording = this.#shown;
    Object.assign(recording, { state: 'waiting', told: say('file.waiting'), words: [], error: null });
    this.#open(recording);
    this.#next();
  }

  #corrected() {
    this.#shown.words = [...this.#player.words];
    this.#keep(this.#shown);
    this.#render();
  }

  async #keep(recording) {
    if (await store.keep(recording.kept)) return;
    tell('kept', say('file.not-kept'), { kind: 'info' });
  }

  // --- its request ---

  #send(recording) {
    const form = new FormData();
    form.append('stream', 'true');
    form.append('response_format', 'verbose_json');
    form.append('timestamp_granularities[]', 'word');
    if (this.#language) form.append('languages[]', this.#language.id);
    for (const keyword of this.#keywords) form.append('keywords[]', keyword);
    form.append('file', recording.file);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      const events = new Events((event) => this.#receive(recording, event));
      request.open('POST', api.url(api.TRANSCRIPTIONS));
      for (const [name, value] of Object.entries(api.headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = ({ loaded, total }) => this.#uploaded(recording, loaded / total);
      request.onprogress = () => request.status === 200 && events.read(request.responseText);
      request.onerror = () => reject(new api.ApiError(say('server.lost')));
      request.onload = () => {
        if (request.status !== 200) {
          reject(new api.ApiError(...api.refusal(request.status, parsed(request))));
          return;
        }
        events.read(request.responseText);
        if (events.error) reject(new api.ApiError(serverSays(events.error), { status: 200 }));
        else if (!events.done) reject(new api.ApiError(say('server.lost')));
        else resolve(this.#finish(recording));
      };
      request.send(form);
    });
  }

  #uploaded(recording, share) {
    const whole = Math.floor(share * 100) / 100;
    if (share < 1) this.#show(recording, say('file.uploading', { share: percent(whole) }), share);
    else this.#show(recording, say('file.transcribing'), null);
  }

  #receive(recording, event) {
    if (event.type === 'transcript.text.delta') {
      const words = spaced(event.words, event.delta);
      recording.words.push(...words);
      if (recording === this.#shown) this.#player.add(words);
      this.#advance(recording, event.end);
    } else {
      warn(event.warnings);
      if (event.raw !== undefined) this.#player.rewrite(spaced(event.words, event.text));
      const { code: language = null, probability } = event.languages[0] ?? {};
      recording.duration = event.duration;
      recording.language = language;
      recording.heard = { language, probability, script: event.script };
      if (recording === this.#shown) this.#player.finish(recording);
    }
  }

  #advance(recording, seconds) {
    const duration = recording === this.#shown ? this.#player.duration : NaN;
    const known = Number.isFinite(duration) && duration > 0;
    const time = clock(seconds);
    if (known) {
      const told = say('file.transcribed-of', { time, length: clock(duration) });
      this.#show(recording, told, Math.min(1, seconds / duration));
    } else this.#show(recording, say('file.transcribed', { time }), null);
  }

  #finish(recording) {
    this.#request = null;
    recording.state = 'done';
    if (recording.words.length) this.#keep(recording);
    else if (recording === this.#shown) tell('file', say('file.silent'), { kind: 'info' });
    this.#render();
  }

  // --- what is shown and done ---

  #show(recording, told, share) {
    Object.assign(recording, { told, share });
    this.#render();
  }

  #render() {
    const own = this.#shown;
    this.#list.render(this.#recordings, own);
    const useless = !own || (own.state === 'failed' && !own.words.length);
    drop.classList.toggle('small', !useless);
    job.hidden = useless;
    if (useless) return;
    document.getElementById('job-name').textContent = own.name;
    write(heard, describeHeard(own.heard));
    progress.hidden = own.state !== 'active' && own.state !== 'waiting';
    write(text, own.told);
    if (own.share === null || own.state === 'waiting') bar.removeAttribute('value');
    else bar.value = own.share;
    const nothing = own.words.length === 0;
    for (const button of actions.querySelectorAll('button')) button.disabled = nothing;
    document.getElementById('job-correct').disabled = nothing || own.state !== 'done';
  }

  #act(action) {
    if (!action) return;
    const name = this.#shown.name.replace(/\.[^.]+$/, '') || String(say('file.name'));
    const { text, words, end } = this.#player;
    hand(action, { text, words, duration: end, name, language: this.#shown.language });
  }
}

/** Reads server-sent events from a text that grows. */
class Events {
  #read = 0;

  constructor(onEvent) {
    this.onEvent = onEvent;
    this.error = null;
    this.done = false;
  }

  read(text) {
    for (;;) {
      const end = text.indexOf('\n\n', this.#read);
      if (end < 0) return;
      const lines = text.slice(this.#read, end).split('\n');
      this.#read = end + 2;
      const data = lines.find((line) => line.startsWith('data: ')); // beside its name
      if (data) this.#take(JSON.parse(data.slice('data: '.length)));
    }
  }

  #take(event) {
    if (event.error) this.error = event.error.message;
    else {
      this.done ||= event.type === 'transcript.text.done';
      this.onEvent(event);
    }
  }
}

function parsed(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return null; // from a proxy, perhaps
  }
}

function explain({ status, code, message }) {
  if (status === 401) return say('server.no-key');
  if (code === 'model_not_ready') return say('file.loading', { stage: message });
  if (status === 503) return say('file.full');
  if (status === 0) return say('file.check-server', { why: message });
  return message;
}
