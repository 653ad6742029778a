/*
 * Send live audio to the server and receive its text, over as many connections as
 * needed.
 *
 * When a connection breaks, another is opened, after a pause that grows. If the server
 * still has the session, it goes on where it was. Otherwise a new one gets again all
 * audio that is not in a final yet, so that nothing is missing; only audio beyond the
 * backlog is lost, and that is reported. docs/protocol.md specifies the protocol.
 */

import { ApiError, check, openSocket } from './api.js';
import { Backlog, StreamClock } from './backlog.js';
import { say } from './interface-text.js';
import { spaced } from './text.js';

// Longer than an utterance usually is, and than most servers take to restart.
const KEPT_S = 120;
// Audio that is kept in silence, because speech may begin in it before it is noticed.
const BEFORE_SPEECH_S = 2;
// Audio that is kept although it was sent, because a session that goes on may lack it:
// what lies in the buffers of a network that breaks.
const ON_ITS_WAY_S = 30;
// Most bytes that the socket gets ahead of the network.
const AHEAD_S = 2;
// A connection that takes no audio for so long is dead, even without a close.
const STALLED_MS = 10_000;
// A server that sends nothing for so long after the end will send nothing more.
const ANSWER_WITHIN_MS = 60_000;
const PUMP_MS = 100;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

const BYTES_PER_SAMPLE = 2;

// Closes a connection that does not work, and says that another follows.
const COMING_BACK = 4000;

export class LiveStream {
  #socket = null;
  #clock;
  #backlog;
  #token = null; // of a session that may go on
  #seq = 0; // number of its last message
  #nSent = 0; // messages that it was sent
  #settled = 0; // position before which a new session needs nothing
  #options;
  #listener;
  #lastAudio = false;
  #toldEnd = false;
  #over = false;
  #tries = 0;
  #retry = null;
  #pumping = null;
  #openUtterance = false;
  #reason = null;
  #leastBuffered = 0;
  #drainedAt = 0;
  #heardAt = 0;

  /**
   * @param {object} options `sampleRate`, `language` (a tag, or null) and `keywords`.
   * @param {object} listener Functions that are called:
   *   open(): text may come;
   *   partial({confirmed, pending, language});
   *   final({text, words, start, end, language, probability, script}): times in seconds of listening;
   *   warned(warnings): what was wanted and cannot be done;
   *   lost(seconds): audio that no server will hear;
   *   failed(message): an utterance has no text;
   *   waiting({why, message, pauseMs, streams}): why: busy (with so many streams),
   *     loading, key, gone or server;
   *   unanswered(): the server sends nothing after the end; `over` follows;
   *   over(): the session is over.
   */
  constructor(options, listener) {
    this.#options = options;
    this.#listener = listener;
    this.#backlog = new Backlog(KEPT_S * options.sampleRate);
    this.#clock = new StreamClock(options.sampleRate);
    this.#connect();
    addEventListener('online', this.retryNow);
  }

  /** Seconds of audio that wait to be sent. */
  get behind() {
    return this.#backlog.unsent / this.#options.sampleRate;
  }

  /** @param {Int16Array} samples */
  push(samples) {
    const lost = this.#backlog.add(samples);
    if (lost) this.#listener.lost(lost / this.#options.sampleRate);
    this.#pump();
  }

  /** No more audio comes; `over` is called after the last text. */
  end() {
    this.#lastAudio = true;
    this.#pump();
  }

  /** Give up at once, with whatever is missing. */
  abandon() {
    if (this.#over) return;
    this.#over = true;
    removeEventListener('online', this.retryNow);
    clearTimeout(this.#retry);
    this.#drop();
    this.#listener.over();
  }

  setLanguage(language) {
    this.#options.language = language;
    if (this.#pumping) this.#send({ type: 'config', languages: listed(language) });
  }

  setKeywords(keywords) {
    this.#options.keywords = keywords;
    if (this.#pumping) this.#send({ type: 'config', keywords });
  }

  /** Do not wait any longer for the next try. */
  retryNow = () => {
    if (this.#retry === null) return;
    clearTimeout(this.#retry);
    this.#connect();
  };

  #connect() {
    this.#retry = null;
    this.#reason = null;
    let opened = false;
    try {
      this.#socket = openSocket(this.#token ? { resume: this.#token, seq: this.#seq } : {});
    } catch (error) { // the key has letters that a subprotocol may not have
      this.#retry = 0;
      this.#listener.waiting({ why: 'key', message: error.message, pauseMs: null });
      return;
    }
    this.#socket.onopen = () => {
      opened = true;
    };
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#socket.onclose = () => this.#closed(opened);
  }

  #configure() {
    const { sampleRate, language, keywords } = this.#options;
    this.#send({
      type: 'config',
      encoding: 's16le',
      sample_rate: sampleRate,
      languages: listed(language),
      keywords,
      profile: 'captions',
      words: true,
    });
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
    this.#nSent += 1;
  }

  // --- what the server says ---

  #receive(message) {
    this.#heardAt = performance.now();
    this.#seq = message.seq ?? this.#seq;
    if (message.is_final || message.fatal) this.#token = null;
    if (message.type === 'ready') this.#begin(message);
    else if (message.type === 'error') this.#complain(message);
    else if (message.type === 'configured') this.#listener.warned(message.warnings);
    else if (message.is_final) this.#finish();
    else if (message.type === 'transcript') this.#hear(message);
  }

  /** The last message of a session, which the server may have ended before we did. */
  #finish() {
    if (this.#toldEnd) this.abandon();
    else this.#closed(true);
  }

  #begin(ready) {
    this.#tries = 0;
    this.#token = ready.resume_token ?? null;
    if (ready.resumed) this.#goOn(ready);
    else this.#beginAnew();
    if (!this.#toldEnd) this.#configure();
    this.#drainedAt = performance.now();
    this.#pumping = setInterval(() => this.#pump(), PUMP_MS);
    this.#listener.open();
    this.#pump();
  }

  /** Send what the session lacks; the rest is sent, too, but it never came. */
  #goOn({ received_bytes: bytes, received_messages: messages }) {
    this.#backlog.rewind(this.#clock.rewind(bytes / BYTES_PER_SAMPLE));
    this.#toldEnd &&= messages === this.#nSent; // it was the last
    this.#nSent = messages;
  }

  #beginAnew() {
    this.#toldEnd = false;
    this.#openUtterance = false;
    this.#seq = this.#nSent = 0;
    this.#clock = new StreamClock(this.#options.sampleRate);
    this.#backlog.release(this.#settled);
    this.#backlog.rewind();
  }

  /** Keep audio before a position no longer than a session that goes on may need it. */
  #settle(position) {
    this.#settled = Math.max(this.#settled, position);
    const sent = this.#backlog.end - this.#backlog.unsent;
    this.#backlog.release(Math.min(this.#settled, sent - ON_ITS_WAY_S * this.#options.sampleRate));
  }

  #complain(message) {
    if (message.fatal) this.#reason = message;
    else if (message.utterance_final) {
      this.#openUtterance = false;
      this.#listener.failed(message.message);
    } else console.warn(message.message);
  }

  #hear(message) {
    const { confirmed_text: confirmed, pending_text: pending, language = null } = message;
    this.#openUtterance = !message.utterance_final;
    if (message.utterance_final) {
      const words = spaced(message.words ?? [], message.text).map((word) => ({
        ...word,
        start: this.#clock.seconds(word.start),
        end: this.#clock.seconds(word.end),
      }));
      this.#settle(this.#clock.position(message.audio_position));
      this.#listener.final({
        text: message.text,
        words,
        start: this.#clock.seconds(message.start ?? 0),
        end: this.#clock.seconds(message.audio_position),
        language,
        probability: message.language_probability,
        script: message.script,
      });
    } else {
      this.#settle(this.#clock.position(message.start ?? 0));
      this.#listener.partial({ confirmed, pending, language });
    }
  }

  // --- what it is sent ---

  #pump() {
    if (!this.#pumping) return;
    const { sampleRate } = this.#options;
    const ahead = AHEAD_S * sampleRate * BYTES_PER_SAMPLE;
    while (this.#socket.bufferedAmount < ahead) {
      const piece = this.#backlog.take();
      if (!piece) break;
      this.#socket.send(piece.samples);
      this.#clock.sent(piece);
      this.#nSent += 1;
    }
    if (!this.#openUtterance) {
      const sent = this.#backlog.end - this.#backlog.unsent;
      this.#settle(sent - BEFORE_SPEECH_S * sampleRate);
    }
    if (this.#lastAudio && !this.#backlog.unsent && !this.#toldEnd) {
      this.#toldEnd = true;
      this.#heardAt = performance.now();
      this.#send({ type: 'end' });
    }
    if (this.#stalled()) this.#closed(true);
    else if (this.#toldEnd && performance.now() - this.#heardAt > ANSWER_WITHIN_MS) {
      this.#listener.unanswered();
      this.abandon();
    }
  }

  #stalled() {
    const buffered = this.#socket.bufferedAmount;
    const now = performance.now();
    if (buffered === 0 || buffered < this.#leastBuffered) this.#drainedAt = now;
    this.#leastBuffered = buffered;
    return now - this.#drainedAt > STALLED_MS;
  }

  // --- when it goes away ---

  async #closed(opened) {
    const reason = this.#reason;
    this.#drop(COMING_BACK);
    if (this.#over) return;
    const why = reason ? whyOf(reason) : await diagnose(opened);
    if (this.#over) return;
    const pauseMs = why.why === 'key' ? null : this.#pauseMs(reason?.retry_after_s);
    // The listener may give up, or ask for a key and try again by itself.
    if (pauseMs === null) this.#retry = 0;
    else this.#retry = setTimeout(() => this.#connect(), pauseMs);
    this.#listener.waiting({ ...why, pauseMs });
  }

  #pauseMs(retryAfterS) {
    const grown = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#tries);
    this.#tries += 1;
    // Spread out, so that clients do not all connect again at the same moment.
    const own = grown * (0.75 + Math.random() / 2);
    return Math.max(own, (retryAfterS ?? 0) * 1000);
  }

  #drop(code) {
    clearInterval(this.#pumping);
    this.#pumping = null;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
    this.#socket = null;
  }
}

/** The list of languages of `config`; null allows all. */
function listed(language) {
  return language ? [language] : null;
}

function whyOf({ code, message, streams }) {
  if (code === 'overloaded') return { why: 'busy', message, streams };
  if (code === 'model_not_ready') return { why: 'loading', message };
  return { why: 'server', message };
}

/** Find out why a connection ended without a reason; a refused socket has none. */
async function diagnose(opened) {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return { why: 'key', message: error.message };
    if (error.code === 'model_not_ready') return { why: 'loading', message: error.message };
    if (error.status) return { why: 'server', message: error.message };
    return { why: 'gone', message: error.message };
  }
  return { why: 'gone', message: say(opened ? 'server.lost' : 'server.unreachable') };
}
