/*
 * Hold the audio that may be needed again, addressed by position.
 *
 * A position counts samples since listening began and never restarts, even with a new
 * connection. Audio that was not sent yet waits here; so does audio that was sent but is
 * not in a final yet, because a new connection has to get it again. The oldest is
 * dropped when there is no room. No clock, no socket.
 */

export class Backlog {
  #pieces = []; // {start, samples}, in order, without gaps but where audio was dropped
  #next = 0; // index of the first that was not sent
  #maxSamples;

  constructor(maxSamples) {
    this.#maxSamples = maxSamples;
    this.end = 0;
  }

  get start() {
    return this.#pieces[0]?.start ?? this.end;
  }

  /** How much waits to be sent. */
  get unsent() {
    return this.end - (this.#pieces[this.#next]?.start ?? this.end);
  }

  /** Add samples; return how many had to be dropped that no server has heard. */
  add(samples) {
    this.#pieces.push({ start: this.end, samples });
    this.end += samples.length;
    let lost = 0;
    while (this.end - this.start > this.#maxSamples) {
      if (this.#next === 0) lost += this.#pieces[0].samples.length;
      this.#drop();
    }
    return lost;
  }

  /** Take the next piece that was not sent, or undefined. */
  take() {
    const piece = this.#pieces[this.#next];
    if (piece) this.#next += 1;
    return piece;
  }

  /** Forget what was sent and ends before a position. */
  release(position) {
    while (this.#next > 0 && this.#pieces[0].start + this.#pieces[0].samples.length <= position) {
      this.#drop();
    }
  }

  /** Mark all audio here as not sent, or all from a position on. */
  rewind(position = -Infinity) {
    const next = this.#pieces.findIndex(({ start, samples }) => start + samples.length > position);
    this.#next = next < 0 ? this.#pieces.length : next;
  }

  #drop() {
    this.#pieces.shift();
    this.#next = Math.max(0, this.#next - 1);
  }
}

/**
 * The times of one session, which count from its first audio.
 */
export class StreamClock {
  #anchors = [];
  #sent = 0;

  constructor(sampleRate) {
    this.sampleRate = sampleRate;
  }

  /** Note that a piece was sent. */
  sent({ start, samples }) {
    const last = this.#anchors.at(-1);
    if (!last || last.position + (this.#sent - last.sent) !== start) {
      this.#anchors.push({ sent: this.#sent, position: start });
    }
    this.#sent += samples.length;
  }

  /** Go on after so many samples; return the position of the next. */
  rewind(sent) {
    const position = this.#at(sent);
    this.#anchors = this.#anchors.filter((anchor) => anchor.sent < sent);
    this.#sent = sent;
    return position;
  }

  /** Position, since listening began, of what the server calls `seconds`. */
  position(seconds) {
    return this.#at(seconds * this.sampleRate);
  }

  #at(sample) {
    const anchor = this.#anchors.findLast(({ sent }) => sent <= sample) ?? this.#anchors[0];
    return anchor ? anchor.position + (sample - anchor.sent) : sample;
  }

  /** Seconds since listening began. */
  seconds(seconds) {
    return this.position(seconds) / this.sampleRate;
  }
}
