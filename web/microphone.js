/*
 * Open the microphone and hand on what it hears.
 *
 * Echo cancelling, noise suppression and automatic gain are made for ears on the
 * telephone. The first two cut into speech; the third makes the first words two to
 * three times too loud and clips them. The models normalise what they hear.
 */

const CONSTRAINTS = {
  audio: {
    channelCount: 1,
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: false,
  },
};

// The server's highest rate; sound cards of studios have more.
const MAX_SAMPLE_RATE = 48_000;

// The longest wait for a browser that does not answer.
const CLOSE_WITHIN_MS = 500;

const WHY = {
  NotAllowedError: 'refused',
  SecurityError: 'refused',
  NotFoundError: 'missing',
  OverconstrainedError: 'missing',
  NotReadableError: 'in-use',
  AbortError: 'in-use',
};

/** `why`: insecure, unsupported, refused, missing, in-use, gone or failed. */
export class MicrophoneError extends Error {
  constructor(why, cause) {
    super(why, { cause });
    this.why = why;
  }
}

export class Microphone {
  /**
   * Must be called while a click is handled: otherwise browsers give no sound.
   *
   * @param {{onAudio: (samples: Int16Array, level: number, seconds: number) => void,
   *          onLost: () => void}} listener
   * @throws {MicrophoneError}
   */
  static async open(listener) {
    if (!globalThis.isSecureContext) throw new MicrophoneError('insecure');
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) {
      throw new MicrophoneError('unsupported');
    }
    const context = makeContext();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
      await context.audioWorklet.addModule(new URL('capture-worklet.js', import.meta.url));
      await context.resume();
      return new Microphone(context, stream, listener);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      await context.close();
      throw new MicrophoneError(WHY[error.name] ?? 'failed', error);
    }
  }

  constructor(context, stream, { onAudio, onLost }) {
    this.context = context;
    this.stream = stream;
    this.sampleRate = context.sampleRate;
    this.node = new AudioWorkletNode(context, 'capture', {
      channelCount: 1,
      channelCountMode: 'explicit',
    });
    this.ended = new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) => {
        if (data.ended) resolve();
        else onAudio(data.samples, data.level, data.samples.length / context.sampleRate);
      };
    });
    const [track] = stream.getAudioTracks();
    this.gone = false;
    track.onended = () => {
      this.gone = true;
      onLost();
    };
    // Phones interrupt sound for a call, and some do not resume by themselves.
    context.onstatechange = () => {
      if (context.state === 'interrupted' || context.state === 'suspended') context.resume();
    };
    // It is silent, but some browsers do not run nodes without a destination.
    context.createMediaStreamSource(stream).connect(this.node).connect(context.destination);
  }

  /** Stop listening; audio so far is handed on before this returns, within a time limit. */
  async close() {
    this.stream.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    this.node.port.postMessage('end');
    await within(CLOSE_WITHIN_MS, this.ended);
    this.context.onstatechange = null;
    await within(CLOSE_WITHIN_MS, this.context.close());
  }
}

function within(ms, work) {
  return Promise.race([work, new Promise((resolve) => setTimeout(resolve, ms))]);
}

function makeContext() {
  const context = new AudioContext({ latencyHint: 'interactive' });
  if (context.sampleRate <= MAX_SAMPLE_RATE) return context;
  context.close();
  return new AudioContext({ latencyHint: 'interactive', sampleRate: MAX_SAMPLE_RATE });
}
