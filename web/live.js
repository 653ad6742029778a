/*
 * The live view: from the press of a button to captions, and everything that may go
 * wrong in between.
 */

import * as api from './api.js';
import { Captions } from './captions.js';
import { hand } from './export.js';
import { askForKey, withKey } from './key.js';
import { english, say, serverSays, write } from './interface-text.js';
import { describeHeard } from './languages.js';
import { LevelMeter } from './level.js';
import { Microphone, MicrophoneError } from './microphone.js';
import { tell, untell, warn } from './notices.js';
import * as store from './store.js';
import { LiveStream } from './stream.js';
import { clock, shifted } from './text.js';

// What the button says in each state.
const LABELS = {
  idle: say('live.start'),
  starting: say('live.starting'),
  listening: say('live.stop'),
  finishing: say('live.finishing'),
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
      if (error.code === 'model_not_ready') tell('connection', describeWait({ why: 'loading', message: error.message }), { stays: true });
    }
  }

  #loseMicrophone() {
    tell('microphone', say('microphone.gone'));
    this.#stop();
  }

  async #notStarted(error) {
    await this.#closeMicrophone();
    if (error.status === 401) this.#missKey();
    else tell('microphone', error.why ? say(`microphone.${error.why}`) : serverSays(error.message));
    this.#enter('idle');
  }

  #missKey() {
    tell('key', say('server.no-key'), {
      action: { label: say('key.enter'), run: () => this.#start() },
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
    tell('finishing', say('live.waiting'), {
      kind: 'info',
      stays: true,
      action: { label: say('live.leave'), run: () => this.#stream?.abandon() },
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
        if (utterance.text) write(heard, describeHeard(utterance));
        this.#changedForGood();
      },
      warned: warn,
      lost: (seconds) => this.#missed(seconds),
      failed: (message) => {
        this.#captions.giveUp();
        this.#captions.gap(say('live.not-transcribed', { why: english(message) }));
      },
      waiting: (state) => this.#wait(state),
      unanswered: () => tell('unanswered', say('live.unanswered')),
      over: () => this.#over(),
    });
  }

  #connected() {
    untell('connection');
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#lost = 0;
    tell('connection-back', say('connection.back'), { kind: 'info' });
    setTimeout(() => untell('connection-back'), BACK_MS);
  }

  async #wait({ pauseMs, ...reason }) {
    const { why } = reason;
    untell('connection-back');
    if (why === 'key') {
      if (await askForKey({ live: true })) this.#stream?.retryNow();
      else this.#giveUp();
      return;
    }
    this.#waiting = why !== 'loading';
    tell('connection', describeWait(reason), {
      stays: true,
      until: Date.now() + pauseMs,
      action: { label: say('connection.try'), run: () => this.#stream?.retryNow() },
    });
  }

  async #giveUp() {
    this.#missKey();
    await this.#closeMicrophone();
    this.#stream?.abandon();
  }

  /** Audio that no server heard; reported once for an interruption, at its place. */
  #missed(seconds) {
    if (this.#lost === 0) this.#captions.gap(say('live.not-heard'));
    this.#lost += seconds;
    tell('lost', say('live.left-out', { time: clock(this.#lost) }));
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
    write(button, LABELS[this.#state]);
    // Disabled in earnest it would lose the focus.
    button.setAttribute('aria-disabled', String(this.#state === 'starting'));
    const nothing = this.#captions.isEmpty;
    for (const own of actions.querySelectorAll('button')) own.disabled = nothing;
    this.#tick();
  }

  #tick() {
    const behind = this.#stream?.behind ?? 0;
    const late = this.#state === 'listening' && behind >= 3;
    const listened = clock(this.#listened + this.#heard);
    write(time, late ? say('live.behind', { time: listened, n: Math.round(behind) }) : listened);
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
    const taken = await hand(action, { text, words, name: String(say('live.file-name', { time: stamp() })) });
    // More may have been said meanwhile.
    if (taken && text === this.#captions.text) this.#unsaved = false;
  }

  #clear() {
    const restore = this.#captions.clear();
    // What comes next begins anew.
    const listened = this.#state === 'idle' ? this.#listened : 0;
    this.#listened -= listened;
    this.#changedForGood();
    tell('cleared', say('live.cleared'), {
      kind: 'info',
      action: { label: say('live.undo'), run: () => this.#restore(restore, listened) },
    });
  }
}

/** Say why there is no text for the moment. */
function describeWait({ why, message, streams }) {
  if (why === 'busy') return streams ? say('connection.crowded', { n: streams }) : say('connection.busy');
  if (why === 'loading') return say('connection.loading', { stage: english(message) });
  return why === 'server' ? say('connection.server', { message: english(message) }) : say('connection.gone');
}

function stamp() {
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000);
  return now.toISOString().slice(0, 16).replace('T', '-').replace(':', '');
}
