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
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

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

    @classmethod
    def join(cls, states: Sequence["VadStates"]) -> "VadStates":
        """Put the states of some streams after each other."""
        return cls(
            np.concatenate([own.context for own in states]),
            np.concatenate([own.hidden for own in states]),
            np.concatenate([own.cell for own in states]),
        )

    def split(self) -> list["VadStates"]:
        """Return each stream's state by itself."""
        return [
            VadStates(
                self.context[k : k + 1], self.hidden[k : k + 1], self.cell[k : k + 1]
            )
            for k in range(len(self.context))
        ]


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
        with warnings.catch_warnings():
            # Deprecated since PyTorch 2.13; the package has these weights in no
            # other form that PyTorch reads.
            warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
            script = load(Path(package.origin).parent / _NETWORK)
        weights = {
            name: tensor.numpy() for name, tensor in script._model.state_dict().items()
        }
        self._basis = weights["stft.forward_basis_buffer"][:, 0].T.copy()
        self._convolutions = [
            _Convolution(weights, f"encoder.{n}.reparam_conv", stride=stride)
            for n, stride in enumerate((1, 2, 2, 1))
        ]
        doubled = np.ones(4 * _N_HIDDEN, np.float32)
        doubled[2 * _N_HIDDEN : 3 * _N_HIDDEN] = 2  # see `_remember`
        self._input = weights["decoder.rnn.weight_ih"].T * doubled
        self._recurrent = weights["decoder.rnn.weight_hh"].T * doubled
        bias = weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"]
        self._bias = bias * doubled
        self._output = weights["decoder.decoder.2.weight"][0, :, 0].copy()
        self._output_bias = weights["decoder.decoder.2.bias"][0]

    def probabilities(
        self, blocks: Sequence[Floats], states: VadStates
    ) -> tuple[list[Floats], VadStates]:
        """Listen to the next frames of each stream.

        Args:
            blocks: Samples of each stream, shape (n_frames, 512); every stream may
                have another number of frames, but none has none. A stream of its own
                is told apart by its state only, so blocks may be of other streams
                in every call.
            states: Of the same streams, as the last call returned them.

        Returns:
            Probabilities of speech, shape (n_frames,) for each stream, and new states.
        """
        lengths = np.array([len(block) for block in blocks])
        ends = np.cumsum(lengths)
        features = self._features(_with_context(blocks, states))
        heard, hidden, cell = self._remember(features, ends - lengths, lengths, states)
        logits = np.maximum(heard, 0) @ self._output + self._output_bias
        context = np.stack([block[-1, -_N_CONTEXT:] for block in blocks])
        found = np.split(_sigmoid(logits), ends[:-1])
        return found, VadStates(context, hidden, cell)

    def _features(self, frames: Floats) -> Floats:
        """Describe each frame by itself.

        Args:
            frames: Shape (n_frames, 64 + 512), each with the samples before it.

        Returns:
            Shape (n_frames, 128).
        """
        # The end is reflected, without its last sample.
        padded = np.concatenate([frames, frames[:, -2 : -2 - _N_CONTEXT : -1]], axis=1)
        views = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT, axis=1)
        pieces = views[:, ::_STRIDE]
        n_pieces = pieces.shape[1]
        spectrum = pieces.reshape(-1, _N_FFT) @ self._basis
        real, imaginary = spectrum[:, :_N_BINS], spectrum[:, _N_BINS:]
        x: Floats = np.sqrt(real * real + imaginary * imaginary)
        x = x.reshape(-1, n_pieces, _N_BINS)
        for convolution in self._convolutions:
            x = convolution(x)
        return x.reshape(-1, _N_HIDDEN)

    def _remember(
        self,
        features: Floats,
        starts: NDArray[np.intp],
        lengths: NDArray[np.intp],
        states: VadStates,
    ) -> tuple[Floats, Floats, Floats]:
        """Run the LSTM over each stream's frames in order.

        Args:
            features: Of all frames, stream after stream.
            starts: Each stream's first row in them.
            lengths: Each stream's number of rows.
            states: Before the first.

        Returns:
            Its output for all frames, and the last output and memory of each stream.
        """
        gates = features @ self._input + self._bias
        heard = np.empty_like(features)
        # Streams with the most frames first, so that those with a next one are the
        # first few.
        order = np.argsort(-lengths, kind="stable")
        hidden, cell = states.hidden[order], states.cell[order]
        starts, lengths = starts[order], lengths[order]
        for t in range(lengths[0]):
            n = np.count_nonzero(lengths > t)
            rows = starts[:n] + t
            # The third gate's weights are doubled: tanh(x) = 2 sigmoid(2x) - 1.
            opened = _sigmoid(gates[rows] + hidden[:n] @ self._recurrent)
            enter, keep, news, leave = np.split(opened, 4, axis=1)
            cell[:n] = keep * cell[:n] + enter * (2 * news - 1)
            hidden[:n] = leave * (2 * _sigmoid(2 * cell[:n]) - 1)
            heard[rows] = hidden[:n]
        back = np.argsort(order)
        return heard, hidden[back], cell[back]


def _with_context(blocks: Sequence[Floats], states: VadStates) -> Floats:
    """Put before each frame the samples it is looked at with."""
    frames = np.concatenate(blocks)
    padded = np.empty((len(frames), _N_CONTEXT + FRAME_SAMPLES), np.float32)
    padded[:, _N_CONTEXT:] = frames
    padded[1:, :_N_CONTEXT] = frames[:-1, -_N_CONTEXT:]
    starts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    padded[starts, :_N_CONTEXT] = states.context
    return padded


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
    # numpy's exp is several times faster than its tanh. Beyond 60 nothing changes,
    # and 88 would overflow.
    y: Floats = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return y


def keep_numpy_to_one_thread() -> None:
    """Let numpy's matrix products use one thread, in the whole process.

    They are small: more threads take longer, and get into the way of PyTorch's.
    """
    threadpool_limits(1, user_api="blas")


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
        frames = audio.reshape(-1, FRAME_SAMPLES)
        if not len(frames):
            return []
        found, self._states = self._vad.probabilities([frames], self._states)
        probabilities: list[float] = found[0].tolist()
        return probabilities
