"""Ask Silero VAD how likely each 32 ms of audio holds speech.

The weights are those of the TorchScript in the `silero-vad` package; the arithmetic
is written out here in numpy, because that is faster. The convolutions of all frames
are a few matrix products, and only the LSTM goes frame by frame. For a frame of each
of 16 streams the package's TorchScript takes 2.1 times as long and its ONNX network
1.7 times; for a second of one recording, 7 and 2.7 times. A single frame of a single
stream is faster with ONNX, by about a third (`python -m benchmarks.vad_network`).
Blocks may have different numbers of frames, which the package's networks cannot take.

The package itself is not imported, because that would set torch to one thread for the
whole process. Rejected: its safetensors, which hold an older network than its
TorchScript and ONNX do; and ONNX, which needs another runtime.

Source: Silero Team, "Silero VAD" (https://github.com/snakers4/silero-vad), the
16 kHz network of release 6.
A call blocks for some milliseconds per second of audio: it belongs in a worker thread.
Instances never change and may be shared by threads.
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

from audio.samples import Samples
from vad.spans import FRAME_SAMPLES

Floats = NDArray[np.float32]

_NETWORK = Path("data", "silero_vad.jit")  # within the package

_N_CONTEXT = 64  # samples before a frame that the network hears as well
_N_FFT = 256
_N_BINS = _N_FFT // 2 + 1
_STRIDE = 128
_N_HIDDEN = 128


@dataclass(frozen=True, slots=True)
class VadStates:
    """State of the network for each of `n` streams.

    It is one array, because the states of many streams are joined and split for every
    frame.

    Attributes:
        rows: One row for each stream, shape (n, 320): its last samples (64), then the
            LSTM's output (128) and cell state (128). Never written to.
    """

    rows: Floats

    @property
    def context(self) -> Floats:
        return self.rows[:, :_N_CONTEXT]

    @property
    def hidden(self) -> Floats:
        return self.rows[:, _N_CONTEXT:-_N_HIDDEN]

    @property
    def cell(self) -> Floats:
        return self.rows[:, -_N_HIDDEN:]

    @classmethod
    def fresh(cls, n_streams: int = 1) -> "VadStates":
        """Make the states of streams that have just begun."""
        return cls(np.zeros((n_streams, _N_CONTEXT + 2 * _N_HIDDEN), np.float32))

    @classmethod
    def join(cls, states: Sequence["VadStates"]) -> "VadStates":
        """Join the states of several streams, in their order."""
        return cls(np.concatenate([own.rows for own in states]))

    def split(self) -> list["VadStates"]:
        """Return each stream's state by itself."""
        return [VadStates(row) for row in self.rows[:, None]]


class SileroVad:
    """The network. Loading takes milliseconds and needs no internet access.

    Raises:
        FileNotFoundError: The package is not installed, or its files lie elsewhere.
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
        self._cosines, self._sines = _folded(weights["stft.forward_basis_buffer"])
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
        """Compute the probabilities of the next frames of each stream.

        Args:
            blocks: Samples of each stream, shape (n_frames, 512). The number of
                frames may differ between streams; each has at least one. The streams
                may change from call to call: only `states` carries their history.
            states: States of the same streams in the same order, from their last call.

        Returns:
            Probabilities of speech, shape (n_frames,) for each stream, and the states
            after these frames.
        """
        lengths = np.array([len(block) for block in blocks])
        ends = np.cumsum(lengths)
        starts = ends - lengths
        frames = _with_context(blocks, starts, states)
        features = self._features(frames)
        heard, hidden, cell = self._remember(features, starts, lengths, states)
        logits = np.maximum(heard, 0) @ self._output + self._output_bias
        context = frames[ends - 1, FRAME_SAMPLES : FRAME_SAMPLES + _N_CONTEXT]
        found = _sigmoid(logits)
        # np.split takes longer than the LSTM.
        own = [found[a:b] for a, b in zip(starts, ends, strict=True)]
        return own, VadStates(np.concatenate([context, hidden, cell], axis=1))

    def _features(self, frames: Floats) -> Floats:
        """Compute the features of each frame, which depend on no other frame.

        Args:
            frames: Shape (n_frames, 64 + 512 + 64): the samples before each frame,
                the frame, and its own end, reflected.

        Returns:
            Shape (n_frames, 128).
        """
        n_pieces = (frames.shape[1] - _N_FFT) // _STRIDE + 1
        pieces = _windows(frames, n_pieces, _N_FFT, step=_STRIDE)
        # Half the products: the second half of a window mirrors the first.
        first, last = (
            pieces[..., 1 : _N_FFT // 2 + 1],
            pieces[..., : _N_FFT // 2 - 1 : -1],
        )
        real = (first + last).reshape(-1, _N_FFT // 2) @ self._cosines
        imaginary = (first - last).reshape(-1, _N_FFT // 2) @ self._sines
        real *= real
        imaginary *= imaginary
        real += imaginary
        x: Floats = np.sqrt(real, out=real).reshape(-1, n_pieces, _N_BINS)
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
            features: Features of all frames, stream after stream.
            starts: Each stream's first row in `features`.
            lengths: Each stream's number of rows.
            states: States before the first frame.

        Returns:
            The LSTM's output for all frames, and each stream's last output and cell
            state.
        """
        gates = features @ self._input + self._bias
        heard = np.empty_like(features)
        # The streams with the most frames come first, so that at each step the streams
        # that still have a frame are the first `n`.
        order = np.argsort(-lengths, kind="stable")
        hidden, cell = states.hidden[order], states.cell[order]
        starts, lengths = starts[order], lengths[order]
        for t in range(lengths[0]):
            n = np.count_nonzero(lengths > t)
            rows = starts[:n] + t
            # The third gate's weights are doubled: tanh(x) = 2 sigmoid(2x) - 1.
            opened = hidden[:n] @ self._recurrent
            opened += gates[rows]
            opened = _sigmoid(opened).reshape(n, 4, _N_HIDDEN)
            enter, keep, news, leave = (opened[:, k] for k in range(4))
            cell[:n] *= keep
            cell[:n] += enter * (2 * news - 1)
            hidden[:n] = leave * (2 * _sigmoid(2 * cell[:n]) - 1)
            heard[rows] = hidden[:n]
        back = np.argsort(order)
        return heard, hidden[back], cell[back]


def _with_context(
    blocks: Sequence[Floats], starts: NDArray[np.intp], states: VadStates
) -> Floats:
    """Put each frame between the samples before it and its own end, reflected.

    Args:
        starts: Index of each block's first frame among all frames.
    """
    frames = np.concatenate(blocks)
    end = _N_CONTEXT + FRAME_SAMPLES
    padded = np.empty((len(frames), end + _N_CONTEXT), np.float32)
    padded[:, _N_CONTEXT:end] = frames
    padded[1:, :_N_CONTEXT] = frames[:-1, -_N_CONTEXT:]
    padded[starts, :_N_CONTEXT] = states.context
    padded[:, end:] = frames[:, -2 : -2 - _N_CONTEXT : -1]  # without the last sample
    return padded


def _windows(rows: Floats, n: int, length: int, *, step: int) -> Floats:
    """View each row as `n` windows that begin `step` items after each other.

    numpy's `as_strided` does the same, but takes ten times as long.

    Args:
        rows: Contiguous, with room for the windows.

    Returns:
        Shape (n_rows, n, length); not to be written to.
    """
    row, item = rows.strides
    shape = (len(rows), n, length)
    return np.ndarray(shape, np.float32, rows, 0, (row, step * item, item))


def _folded(basis: Floats) -> tuple[Floats, Floats]:
    """Fold the rows of a Fourier transform onto the first half of its window.

    Args:
        basis: Cosines, then sines, times a periodic window that begins with 0; shape
            (2 * 129, 1, 256).

    Returns:
        The factors of the sums of the samples k and 256 - k, and those of their
        differences, for k from 1 to 128; each of shape (128, 129).
    """
    half = basis[:, 0, 1 : _N_FFT // 2 + 1].T.copy()
    half[-1] /= 2  # the middle is its own mirror image
    return half[:, :_N_BINS].copy(), half[:, _N_BINS:].copy()


class _Convolution:
    """A convolution over three steps, padded by one, and a rectifier."""

    def __init__(self, weights: dict[str, Floats], name: str, *, stride: int) -> None:
        kernel = weights[f"{name}.weight"]  # (n_out, n_in, 3)
        self._kernel = kernel.transpose(2, 1, 0).reshape(-1, len(kernel)).copy()
        self._bias = weights[f"{name}.bias"]
        self._stride = stride

    def __call__(self, x: Floats) -> Floats:
        n, n_steps, n_in = x.shape
        n_out = (n_steps - 1) // self._stride + 1
        if n_out == 1:  # most of its input is padding
            y: Floats = x.reshape(n, -1) @ self._kernel[n_in : (1 + n_steps) * n_in]
        else:
            padded = np.zeros((n, n_steps + 2, n_in), np.float32)
            padded[:, 1:-1] = x
            # Three steps lie in a row, so this only copies.
            flat, step = padded.reshape(n, -1), n_in * self._stride
            columns = _windows(flat, n_out, 3 * n_in, step=step)
            y = columns.reshape(n * n_out, 3 * n_in) @ self._kernel
        y += self._bias
        return np.maximum(y, 0, out=y).reshape(n, n_out, -1)


def _sigmoid(x: Floats) -> Floats:
    """Compute the sigmoid of `x` in place."""
    # numpy's exp is several times faster than its tanh. Beyond 60 the result does not
    # change, and 88 would overflow.
    np.negative(x, out=x)
    np.minimum(x, 60, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def keep_numpy_to_one_thread() -> None:
    """Let numpy's matrix products use one thread, in the whole process.

    The products are small: more threads would be slower and would slow PyTorch's down.
    """
    threadpool_limits(1, user_api="blas")


class VadStream:
    """Voice activity detection for one stream, which comes in blocks of any length.

    Not safe for concurrent use.
    """

    def __init__(self, vad: SileroVad) -> None:
        self._vad = vad
        self._states = VadStates.fresh()
        self._rest: Samples = np.empty(0, np.float32)

    def push_audio(self, samples: Samples) -> list[float]:
        """Return the probabilities of the frames that `samples` completes."""
        audio = np.concatenate([self._rest, samples])
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:]
        return self._listen(audio[:whole])

    def finish(self) -> list[float]:
        """Return the last frame's probability; empty if no samples are left over.

        The frame is filled up with silence.
        """
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
