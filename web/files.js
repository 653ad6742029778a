/*
 * The view of a recording: from a file to a transcript that can be played.
 *
 * It takes one request. The browser reports the progress of the upload; then the server
 * sends words with their times as it finds them, which shows its progress.
 */

import * as api from './api.js';
import { hand } from './export.js';
import { withKey } from './key.js';
import { describeHeard } from './languages.js';
import { tell, untell, warn } from './notices.js';
import { Player } from './player.js';
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
  #player = new Player();
  #language = null;
  #keywords = [];
  #file = null;
  #request = null;
  #limits = null;

  /** @param {{onFile: () => void}} listener Told when a file is dropped, in any view. */
  constructor({ onFile }) {
    chooser.addEventListener('change', () => {
      if (chooser.files[0]) this.#take(chooser.files[0]);
      chooser.value = '';
    });
    this.#listenForDrops(onFile);
    document.getElementById('job-other').addEventListener('click', () => chooser.click());
    document.getElementById('job-cancel').addEventListener('click', () => this.#cancel());
    actions.addEventListener('click', ({ target }) => this.#act(target.dataset.action));
    this.#learnLimits();
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
      if (event.dataTransfer.files[0]) this.#take(event.dataTransfer.files[0]);
    });
  }

  async #learnLimits() {
    try {
      this.#limits = (await api.about()).limits;
      document.getElementById('drop-limit').textContent = `, up to ${megabytes(this.#limits.max_upload_bytes)}`;
    } catch { /* the server says so itself when it comes to that */ }
  }

  // --- a file comes ---

  /** Transcribe a recording that is not chosen here. */
  open(file) {
    this.#take(file);
  }

  async #take(file) {
    this.#cancel();
    this.#file = file;
    ['file', 'recording_cut_off'].forEach(untell);
    drop.classList.add('small');
    job.hidden = false;
    document.getElementById('job-name').textContent = file.name;
    heard.textContent = '';
    this.#player.open(file);
    this.#render();
    const most = this.#limits?.max_upload_bytes ?? Infinity;
    if (file.size > most) {
      this.#fail(new api.ApiError(
        `This recording has ${megabytes(file.size)}; the server takes up to ${megabytes(most)}. A compressed format, ` +
        'such as MP3 or Opus, is ten times smaller.',
        { status: 413 },
      ));
      return;
    }
    try {
      this.#show('Asking the server…', null);
      await withKey(api.check);
      if (this.#file === file) await withKey(() => this.#send(file));
    } catch (error) {
      if (this.#file === file) this.#fail(error);
    }
  }

  #fail(error) {
    progress.hidden = true;
    const again = error.status !== 400 && error.status !== 413;
    const file = this.#file;
    tell('file', explain(error), {
      action: again ? { label: 'Try again', run: () => this.#take(file) } : null,
    });
  }

  #cancel() {
    this.#request?.abort();
    this.#request = null;
    this.#file = null;
    progress.hidden = true;
  }

  // --- its request ---

  #send(file) {
    const form = new FormData();
    form.append('stream', 'true');
    form.append('response_format', 'verbose_json');
    form.append('timestamp_granularities[]', 'word');
    if (this.#language) form.append('languages[]', this.#language.id);
    for (const keyword of this.#keywords) form.append('keywords[]', keyword);
    form.append('file', file);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      const events = new Events((event) => this.#receive(event));
      request.open('POST', api.url(api.TRANSCRIPTIONS));
      for (const [name, value] of Object.entries(api.headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = ({ loaded, total }) => this.#uploaded(loaded / total);
      request.onprogress = () => request.status === 200 && events.read(request.responseText);
      request.onerror = () => reject(new api.ApiError('The connection to the server was lost.'));
      request.onload = () => {
        if (request.status !== 200) {
          reject(new api.ApiError(...api.refusal(request.status, parsed(request))));
          return;
        }
        events.read(request.responseText);
        if (events.error) reject(new api.ApiError(events.error, { status: 200 }));
        else if (!events.done) reject(new api.ApiError('The connection to the server was lost.'));
        else resolve(this.#finish());
      };
      request.send(form);
    });
  }

  #uploaded(share) {
    if (share < 1) this.#show(`Uploading: ${Math.floor(share * 100)} %`, share);
    else this.#show('Transcribing…', null);
  }

  #receive(event) {
    if (event.type === 'transcript.text.delta') {
      this.#player.add(spaced(event.words, event.delta));
      this.#advance(event.end);
    } else {
      warn(event.warnings);
      if (event.raw !== undefined) this.#player.rewrite(spaced(event.words, event.text));
      const { code: language = null, probability } = event.languages[0] ?? {};
      this.#player.finish({ duration: event.duration, language });
      heard.textContent = describeHeard({ language, probability, script: event.script });
    }
  }

  #advance(seconds) {
    const { duration } = this.#player;
    const known = Number.isFinite(duration) && duration > 0;
    const of = known ? ` of ${clock(duration)}` : '';
    this.#show(`Transcribing: ${clock(seconds)}${of}`, known ? Math.min(1, seconds / duration) : null);
    this.#render();
  }

  #finish() {
    this.#request = null;
    progress.hidden = true;
    if (!this.#player.words.length) tell('file', 'No speech was found in this recording.', { kind: 'info' });
    this.#render();
  }

  // --- what is shown and done ---

  #show(message, share) {
    progress.hidden = false;
    text.textContent = message;
    if (share === null) bar.removeAttribute('value');
    else bar.value = share;
  }

  #render() {
    const nothing = this.#player.words.length === 0;
    for (const own of actions.querySelectorAll('button')) own.disabled = nothing;
  }

  #act(action) {
    if (!action) return;
    const name = document.getElementById('job-name').textContent.replace(/\.[^.]+$/, '') || 'transcript';
    const { text, words, end } = this.#player;
    hand(action, { text, words, duration: end, name });
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
  if (status === 401) return 'This server requires a key, and this page has no valid one.';
  if (code === 'model_not_ready') return `The model is still loading (${message}). Try again in a moment.`;
  if (status === 503) return 'The server is full: it works on other recordings. Try again in a moment.';
  if (status === 0) return `${message} Check that the server runs, then try again.`;
  return message;
}

function megabytes(bytes) {
  const mb = bytes / 1e6;
  return `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MB`;
}
