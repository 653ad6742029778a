/*
 * Hand the microphone's samples over in messages of 40 ms.
 *
 * Runs in the audio thread, so it does little: 16-bit integers at the device's own
 * rate, and their level. The server resamples to the model's rate with a good filter;
 * a filter here, with 128 samples at a time, would be worse.
 */

const FRAME_S = 0.04;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Int16Array(Math.round(sampleRate * FRAME_S));
    this.filled = 0;
    this.energy = 0;
    this.ended = false;
    this.port.onmessage = () => {
      this.send();
      this.port.postMessage({ ended: true });
      this.ended = true;
    };
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      const bounded = Math.max(-1, Math.min(1, sample));
      this.frame[this.filled++] = Math.round(bounded * 32767);
      this.energy += bounded * bounded;
      if (this.filled === this.frame.length) this.send();
    }
    return !this.ended;
  }

  send() {
    const samples = this.frame.slice(0, this.filled);
    const level = Math.sqrt(this.energy / Math.max(1, this.filled));
    this.filled = 0;
    this.energy = 0;
    if (samples.length) this.port.postMessage({ samples, level }, [samples.buffer]);
  }
}

registerProcessor('capture', Capture);
