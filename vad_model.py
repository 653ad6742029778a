"""Ask Silero VAD how likely each 32 ms of audio holds speech.

The weights are those of the TorchScript in the `silero-vad` package; the arithmetic
is written out here in numpy. That is little code, and gains two things: a state that
is a plain value, so any number of streams shares one instance and one call; and all
convolutions of a block in a few matrix products, since only the LSTM has to go frame
by frame. The package itself is not imported, because that would set torch to one
thread for the whole process.

Rejected: the package's safetensors, which hold an older network than its
TorchScript and ONNX do; and ONNX, which wants one more runtime.

Source: Silero Team, "Silero VAD" (https://github.com/snakers4/silero-vad), the
16 kHz network of release 6.
Blocking for a few milliseconds a second of audio: belongs in a worker thread.
Instances are never changed and may be shared by threads.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samples import Samples
from vad import FRAME_SAMPLES

Floats = NDArray[np.float32]

_NETWORK = Path("data", "silero_vad.jit")  # within the package

_N_CONTEXT = 64  # samples before a frame that it is looked at with
_N_FFT = 256
_N_BINS = _N_FFT // 2 + 1
_STRIDE = 128
_N_HIDDEN = 128


@dataclass(frozen=True, slots=True)
class VadStates:
    """What the network remembers of each of `n` streams.

    Attributes:
        context: The last samples heard, shape (n, 64).
        hidden: The LSTM's output, shape (n, 128).
        cell: The LSTM's memory, shape (n, 128).
    """

    context: Floats
    hidden: Floats
    cell: Floats

    @classmethod
    def fresh(cls, n_streams: int = 1) -> "VadStates":
        """Make the states of streams that have just begun."""
        return cls(
            np.zeros((n_streams, _N_CONTEXT), np.float32),
            np.zeros((n_streams, _N_HIDDEN), np.float32),
            np.zeros((n_streams, _N_HIDDEN), np.float32),
        )


class SileroVad:
    """The network. Loading takes milliseconds and no network access.

    Raises:
        FileNotFoundError: The package is not installed, or laid out differently.
    """

    def __init__(self) -> None:
        # Found without importing it; see above.
        package = importlib.util.find_spec("silero_vad")
        if package is None or package.origin is None:
            raise FileNotFoundError("The package silero-vad is not installed.")
        load: Callable[[Path], Any] = torch.jit.load  # has no types
        script = load(Path(package.origin).parent / _NETWORK)
        weights = {
            name: tensor.numpy() for name, tensor in script._model.state_dict().items()
        }
        self._basis = weights["stft.forward_basis_buffer"][:, 0].T.copy()
        self._convolutions = [
            _Convolution(weights, f"encoder.{n}.reparam_conv", stride=stride)
            for n, stride in enumerate((1, 2, 2, 1))
        ]
        self._input = weights["decoder.rnn.weight_ih"].T.copy()
        self._recurrent = weights["decoder.rnn.weight_hh"].T.copy()
        self._bias = weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"]
        self._output = weights["decoder.decoder.2.weight"][0, :, 0].copy()
        self._output_bias = weights["decoder.decoder.2.bias"][0]

    def probabilities(
        self, frames: Floats, states: VadStates
    ) -> tuple[Floats, VadStates]:
        """Listen to the next frames of each stream.

        Args:
            frames: Samples, shape (n_streams, n_frames, 512). A stream of its own
                is told apart by its state only, so rows may be other streams in
                every call.
            states: Of the same streams, as the last call returned them.

        Returns:
            Probabilities of speech, shape (n_streams, n_frames), and new states.
        """
        n_streams, n_frames = frames.shape[:2]
        audio = np.concatenate([states.context, frames.reshape(n_streams, -1)], axis=1)
        features = self._features(audio, n_frames)
        heard, hidden, cell = self._remember(features, states)
        logits = np.maximum(heard, 0) @ self._output + self._output_bias
        states = VadStates(audio[:, -_N_CONTEXT:].copy(), hidden, cell)
        return _sigmoid(logits), states

    def _features(self, audio: Floats, n_frames: int) -> Floats:
        """Describe each frame by itself; shape (n_streams, n_frames, 128)."""
        n_streams = len(audio)
        length = _N_CONTEXT + FRAME_SAMPLES
        views = np.lib.stride_tricks.sliding_window_view(audio, length, axis=1)
        frames = views[:, ::FRAME_SAMPLES].reshape(n_streams * n_frames, length)
        padded = np.pad(frames, ((0, 0), (0, _N_CONTEXT)), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT, axis=1)
        pieces = views[:, ::_STRIDE]
        n_pieces = pieces.shape[1]
        spectrum = pieces.reshape(-1, _N_FFT) @ self._basis
        real, imaginary = spectrum[:, :_N_BINS], spectrum[:, _N_BINS:]
        x: Floats = np.sqrt(real * real + imaginary * imaginary)
        x = x.reshape(-1, n_pieces, _N_BINS)
        for convolution in self._convolutions:
            x = convolution(x)
        return x.reshape(n_streams, n_frames, _N_HIDDEN)

    def _remember(
        self, features: Floats, states: VadStates
    ) -> tuple[Floats, Floats, Floats]:
        """Run the LSTM over the frames in order."""
        gates = features @ self._input + self._bias
        hidden, cell = states.hidden, states.cell
        heard = np.empty_like(features)
        for t in range(features.shape[1]):
            own = gates[:, t] + hidden @ self._recurrent
            opened = _sigmoid(own)
            enter, keep = opened[:, :_N_HIDDEN], opened[:, _N_HIDDEN : 2 * _N_HIDDEN]
            news = np.tanh(own[:, 2 * _N_HIDDEN : 3 * _N_HIDDEN])
            cell = keep * cell + enter * news
            hidden = opened[:, 3 * _N_HIDDEN :] * np.tanh(cell)
            heard[:, t] = hidden
        return heard, hidden, cell


class _Convolution:
    """A convolution over three steps, padded by one, and a rectifier."""

    def __init__(self, weights: dict[str, Floats], name: str, *, stride: int) -> None:
        kernel = weights[f"{name}.weight"]  # (n_out, n_in, 3)
        self._kernel = kernel.transpose(2, 1, 0).reshape(-1, len(kernel)).copy()
        self._bias = weights[f"{name}.bias"]
        self._stride = stride

    def __call__(self, x: Floats) -> Floats:
        n, n_steps, n_in = x.shape
        padded = np.zeros((n, n_steps + 2, n_in), np.float32)
        padded[:, 1:-1] = x
        n_out = (n_steps - 1) // self._stride + 1
        steps = [padded[:, k : k + n_steps : self._stride] for k in range(3)]
        columns = np.concatenate(steps, axis=2).reshape(n * n_out, 3 * n_in)
        y: Floats = np.maximum(columns @ self._kernel + self._bias, 0)
        return y.reshape(n, n_out, -1)


def _sigmoid(x: Floats) -> Floats:
    # By way of tanh, which does not overflow.
    y: Floats = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return y


class VadStream:
    """Listen to one stream, cut into blocks of any length.

    Not safe for concurrent use.
    """

    def __init__(self, vad: SileroVad) -> None:
        self._vad = vad
        self._states = VadStates.fresh()
        self._rest: Samples = np.empty(0, np.float32)

    def add(self, samples: Samples) -> list[float]:
        """Return the probabilities of the frames that `samples` completes."""
        audio = np.concatenate([self._rest, samples])
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:]
        return self._listen(audio[:whole])

    def finish(self) -> list[float]:
        """Return the last frame's, filled up with silence; empty if there is none."""
        n_missing = -len(self._rest) % FRAME_SAMPLES
        audio = np.pad(self._rest, (0, n_missing))
        self._rest = audio[:0]
        return self._listen(audio)

    def _listen(self, audio: Samples) -> list[float]:
        frames = audio.reshape(1, -1, FRAME_SAMPLES)
        if not frames.shape[1]:
            return []
        found, self._states = self._vad.probabilities(frames, self._states)
        probabilities: list[float] = found[0].tolist()
        return probabilities
