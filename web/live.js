/*
 * The live view: from the press of a button to captions, and everything that may go
 * wrong in between.
 */

import * as api from './api.js';
import { Captions } from './captions.js';
import { hand } from './export.js';
import { askForKey, withKey } from './key.js';
import { describeHeard } from './languages.js';
import { LevelMeter } from './level.js';
import { Microphone, MicrophoneError } from './microphone.js';
import { tell, untell, warn } from './notices.js';
import * as store from './store.js';
import { LiveStream } from './stream.js';
import { clock, shifted } from './text.js';

const MICROPHONE = {
  insecure:
    'Browsers give a page the microphone only over HTTPS or from this computer itself. Open this page with ' +
    'https://, or forward the port (ssh -L 8000:localhost:8000 SERVER) and open http://localhost:8000. ' +
    'Recordings work here as they are.',
  unsupported: 'This browser has no way to listen to a microphone from a page. A current Chrome, Edge, Firefox or ' +
    'Safari has.',
  refused: 'The browser does not let this page use the microphone. Allow it at the address bar (the icon beside ' +
    'the address), then press Start again.',
  missing: 'No microphone was found. Plug one in, or choose one in the system’s sound settings, then press Start again.',
  'in-use': 'The microphone cannot be opened: another program may be using it. Close that program, then press ' +
    'Start again.',
  gone: 'The microphone is gone. Plug it in again, then press Start.',
  failed: 'The microphone cannot be opened.',
};

const CONNECTION = {
  busy: (_, streams) => `The server is full${others(streams)}. This page tries again by itself, and gets in when ` +
    'somebody leaves; what you say meanwhile is kept for two minutes.',
  loading: (message) => `The model is still loading (${message}). What you say is kept for two minutes; text ` +
    'follows when it is ready.',
  gone: () => 'The connection to the server was lost. This page connects again by itself; what you say meanwhile ' +
    'is kept for two minutes.',
  server: (message) => `The server ended the session: ${message} This page goes on in another one.`,
};

const BACK_MS = 4_000;
// Longer than the last words usually take: after that, people are told and may stop
// waiting.
const PATIENT_MS = 5_000;

const button = document.getElementById('listen');
const time = document.getElementById('clock');
const actions = document.getElementById('live-actions');
const heard = document.getElementById('live-heard');
const level = document.getElementById('level');

export class LiveView {
  #state = 'idle'; // idle, starting, listening, finishing
  #captions = new Captions();
  #meter = new LevelMeter(level);
  #microphone = null;
  #stream = null;
  #language = null;
  #keywords = [];
  #listened = 0; // seconds of earlier sessions
  #heard = 0; // seconds of this one
  #offset = 0; // seconds of what is shown at which this one began
  #wakeLock = null;
  #patience = null;
  #waiting = false;
  #lost = 0;
  #unsaved = false;

  constructor() {
    button.addEventListener('click', () => this.#press());
    actions.addEventListener('click', ({ target }) => this.#act(target.dataset.action));
    addEventListener('beforeunload', (event) => {
      if (this.#state === 'listening' || this.#unsaved) event.preventDefault();
    });
    this.#render();
    this.#recall();
  }

  /** Show what was kept before a reload. */
  async #recall() {
    const kept = await store.captions();
    if (!kept?.finals.length || this.#state !== 'idle' || !this.#captions.isEmpty) return;
    this.#captions.restore(kept.finals);
    this.#listened = kept.listened;
    this.#render();
  }

  async #keep() {
    const { text, kept: finals } = this.#captions;
    const kept = await store.keepCaptions({ finals, listened: this.#listened + this.#heard });
    // More may have been said meanwhile.
    if (kept && text === this.#captions.text) this.#unsaved = false;
  }

  setLanguage(language) {
    this.#language = language;
    this.#captions.setLanguage(language);
    this.#stream?.setLanguage(language?.tag ?? null);
  }

  setKeywords(keywords) {
    this.#keywords = keywords;
    this.#stream?.setKeywords(keywords);
  }

  #press() {
    if (this.#state === 'idle') this.#start();
    else if (this.#state === 'listening') this.#stop();
    else this.#stream?.abandon();
  }

  // --- starting and stopping ---

  async #start() {
    this.#enter('starting');
    ['microphone', 'key', 'connection', 'lost', 'unanswered'].forEach(untell);
    const early = []; // what is heard before there is a stream
    let take = (samples) => early.push(samples);
    try {
      this.#microphone = await Microphone.open({
        onAudio: (samples, loud, seconds) => {
          this.#heard += seconds;
          this.#meter.add(loud);
          take(samples);
          this.#tick();
        },
        onLost: () => this.#state === 'listening' && this.#loseMicrophone(),
      });
      await this.#check();
      if (this.#microphone.gone) throw new MicrophoneError('gone');
    } catch (error) {
      await this.#notStarted(error);
      return;
    }
    this.#stream = this.#open();
    take = (samples) => this.#stream?.push(samples);
    early.forEach(take);
    this.#enter('listening');
    this.#stayAwake();
  }

  /** Ask for the key before anything else; all other trouble passes by itself. */
  async #check() {
    try {
      await withKey(api.check);
    } catch (error) {
      if (error.status === 401) throw error;
      if (error.code === 'model_not_ready') tell('connection', CONNECTION.loading(error.message), { stays: true });
    }
  }

  #loseMicrophone() {
    tell('microphone', MICROPHONE.gone);
    this.#stop();
  }

  async #notStarted(error) {
    await this.#closeMicrophone();
    if (error.status === 401) this.#missKey();
    else tell('microphone', MICROPHONE[error.why] ?? error.message);
    this.#enter('idle');
  }

  #missKey() {
    tell('key', 'This server requires a key, and this page has no valid one.', {
      action: { label: 'Enter a key', run: () => this.#start() },
    });
  }

  async #stop() {
    const stream = this.#stream;
    this.#enter('finishing');
    this.#patience = setTimeout(() => this.#offerToLeave(), PATIENT_MS);
    await this.#closeMicrophone();
    stream.end(); // it may be over already
  }

  async #closeMicrophone() {
    const microphone = this.#microphone;
    this.#microphone = null;
    await microphone?.close();
    this.#meter.clear();
  }

  #offerToLeave() {
    tell('finishing', 'The last words are still being waited for.', {
      kind: 'info',
      stays: true,
      action: { label: 'Do not wait', run: () => this.#stream?.abandon() },
    });
  }

  #over() {
    clearTimeout(this.#patience);
    untell('finishing');
    this.#stream = null;
    this.#captions.giveUp();
    this.#listened += this.#heard;
    this.#heard = 0;
    untell('connection');
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
    this.#enter('idle');
  }

  /** Phones would dim, lock, and stop the microphone. */
  async #stayAwake() {
    this.#wakeLock = (await navigator.wakeLock?.request('screen').catch(() => null)) ?? null;
  }

  // --- what comes ---

  #open() {
    this.#offset = this.#listened;
    const options = {
      sampleRate: this.#microphone.sampleRate,
      language: this.#language?.tag ?? null,
      keywords: this.#keywords,
    };
    return new LiveStream(options, {
      open: () => this.#connected(),
      partial: (text) => {
        this.#captions.partial(text);
        this.#changed();
      },
      final: (utterance) => {
        this.#captions.final(shifted(utterance, this.#offset));
        if (utterance.text) heard.textContent = describeHeard(utterance);
        this.#changedForGood();
      },
      warned: warn,
      lost: (seconds) => this.#missed(seconds),
      failed: (message) => {
        this.#captions.giveUp();
        this.#captions.gap(`(not transcribed: ${message})`);
      },
      waiting: (state) => this.#wait(state),
      unanswered: () => tell('unanswered', 'The server did not send the last words. What it sent before is here.'),
      over: () => this.#over(),
    });
  }

  #connected() {
    untell('connection');
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#lost = 0;
    tell('connection-back', 'Connected again.', { kind: 'info' });
    setTimeout(() => untell('connection-back'), BACK_MS);
  }

  async #wait({ why, message, streams, pauseMs }) {
    untell('connection-back');
    if (why === 'key') {
      if (await askForKey({ live: true })) this.#stream?.retryNow();
      else this.#giveUp();
      return;
    }
    this.#waiting = why !== 'loading';
    tell('connection', CONNECTION[why](message, streams), {
      stays: true,
      until: Date.now() + pauseMs,
      action: { label: 'Try now', run: () => this.#stream?.retryNow() },
    });
  }

  async #giveUp() {
    this.#missKey();
    await this.#closeMicrophone();
    this.#stream?.abandon();
  }

  /** Audio that no server heard; reported once for an interruption, at its place. */
  #missed(seconds) {
    if (this.#lost === 0) this.#captions.gap('(some of what was said here was not heard)');
    this.#lost += seconds;
    tell('lost', `The connection was too slow or away for too long: ${clock(this.#lost)} of speech had to be left out.`);
  }

  #changed() {
    this.#unsaved = !this.#captions.isEmpty;
    this.#render();
  }

  #changedForGood() {
    this.#changed();
    this.#keep();
  }

  // --- what is shown and done ---

  #enter(state) {
    this.#state = state;
    this.#render();
  }

  #render() {
    document.body.dataset.live = this.#state;
    button.textContent = { idle: 'Start', starting: 'Starting…', listening: 'Stop', finishing: 'Finishing…' }[this.#state];
    // Disabled in earnest it would lose the focus.
    button.setAttribute('aria-disabled', String(this.#state === 'starting'));
    const nothing = this.#captions.isEmpty;
    for (const own of actions.querySelectorAll('button')) own.disabled = nothing;
    this.#tick();
  }

  #tick() {
    const behind = this.#stream?.behind ?? 0;
    const late = this.#state === 'listening' && behind >= 3 ? `, ${Math.round(behind)} s behind` : '';
    time.textContent = clock(this.#listened + this.#heard) + late;
  }

  /** Undo a clearing; newer text comes after the restored text. */
  #restore(restore, listened) {
    restore(listened);
    this.#listened += listened;
    this.#offset += listened;
    untell('cleared');
    this.#changedForGood();
  }

  async #act(action) {
    if (!action) return;
    if (action === 'clear') {
      this.#clear();
      return;
    }
    const { text, words } = this.#captions;
    const taken = await hand(action, { text, words, name: `captions-${stamp()}` });
    // More may have been said meanwhile.
    if (taken && text === this.#captions.text) this.#unsaved = false;
  }

  #clear() {
    const restore = this.#captions.clear();
    // What comes next begins anew.
    const listened = this.#state === 'idle' ? this.#listened : 0;
    this.#listened -= listened;
    this.#changedForGood();
    tell('cleared', 'The captions are cleared.', {
      kind: 'info',
      action: { label: 'Undo', run: () => this.#restore(restore, listened) },
    });
  }
}

function others(streams) {
  if (!streams) return '';
  return `: it listens to ${streams === 1 ? 'one other person' : `${streams} others`}`;
}

function stamp() {
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000);
  return now.toISOString().slice(0, 16).replace('T', '-').replace(':', '');
}
