"""The options of a live stream: named profiles, and the bounds of each option.

`captions` shows words early and ends an utterance after a pause of 0.6 s. `agent` ends
it after 0.35 s, since a person waits for an answer. `quality` uses more context and
more time for both. Their margins come from the edge curve of the demo model
(`python -m benchmarks.edge_curve`): half a second from the right edge of a window the
edge has little effect; small changes go on up to 1.1 s.

`CHUNK_DURATION` replaces the length of a profile's window. Margin and one hop are at
the right of the window; the rest is context on the left of the words that are not
committed yet. A longer window costs more compute, and gives better partials as long as
the model needs that context; finals do not depend on it.

Operators and clients set options within the same bounds, which are written only here.

Pure: no I/O, clock, settings or threads.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE
from vad.spans import START_PROB

_MIN_CONTEXT = SAMPLE_RATE // 2

# How much longer than a nominal window one may become, at least, while nothing can be
# committed.
_BEYOND_WINDOW = 3 * SAMPLE_RATE


class Bounds(NamedTuple):
    """The lowest and the highest value of an option."""

    lowest: float
    highest: float

    def nearest(self, value: float) -> float:
        """Return the value, or the bound that it exceeds."""
        return min(max(value, self.lowest), self.highest)


# In seconds; for the environment and all protocols.
CHUNK_DURATION_S = Bounds(1, 40)
HOP_S = Bounds(0.1, 5)
MARGIN_S = Bounds(0.1, 3)
ENDPOINT_SILENCE_S = Bounds(0.1, 10)  # a shorter one is a gap within a word
PRE_ROLL_S = Bounds(0, 2)  # older audio is not held; see `live/framing.py`

# Probabilities of speech. Silero VAD is more certain than these of silence and speech.
SPEECH_PROB = Bounds(0.01, 0.99)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Options of one stream; lengths are samples at 16 kHz.

    Attributes:
        window: Nominal window of a partial: left context, margin and one hop.
        hop: New audio from one partial to the next.
        margin: Audio at the right edge in which nothing is committed yet.
        max_window: Longest window of a partial; commitment is forced before.
        endpoint_silence: Silence that ends an utterance.
        pre_roll: Audio before the first sound that still belongs to an utterance.
        speech_prob: Probability at which speech may begin.
        vad: Whether to tell speech from silence at all. If not, all audio counts as
            speech, and only the client ends utterances.
        endpointing: Whether silence ends utterances; else only the client does.
        partials: Whether partials are made.
        keywords: Words and phrases that are recognised more easily; they may be
            changed at any time, from the next window on.
        scripts: ISO 15924 codes of the scripts that may be written; empty for all. They
            change like keywords.
        eager_silence: Silence after which an early final is sent, as soon as the
            speculation is there; None: never.

    Raises:
        ValueError: A length is out of range.
    """

    window: int = 3 * SAMPLE_RATE
    hop: int = round(0.48 * SAMPLE_RATE)
    margin: int = round(0.5 * SAMPLE_RATE)
    max_window: int = 8 * SAMPLE_RATE
    endpoint_silence: int = round(0.6 * SAMPLE_RATE)
    pre_roll: int = round(0.3 * SAMPLE_RATE)
    speech_prob: float = START_PROB
    vad: bool = True
    endpointing: bool = True
    partials: bool = True
    keywords: tuple[str, ...] = ()
    scripts: frozenset[str] = frozenset()
    eager_silence: int | None = None

    def __post_init__(self) -> None:
        if min(self.hop, self.margin, self.window) < FRAME_SHIFT:
            raise ValueError("hop, margin and window must be at least 20 ms.")
        if self.max_window > MAX_WINDOW_SAMPLES:
            raise ValueError("max_window must not be longer than the model takes.")
        if self.pre_roll < 0 or self.endpoint_silence < 0:
            raise ValueError("pre_roll and endpoint_silence must not be negative.")
        if not 0 < self.speech_prob < 1:
            raise ValueError("speech_prob must lie between 0 and 1.")

    @property
    def left_context(self) -> int:
        """Audio before the uncommitted words that the model hears as well."""
        return max(_MIN_CONTEXT, self.window - self.margin - self.hop)

    def with_window(self, seconds: float | None) -> "StreamOptions":
        """Return these options with another nominal window; None: as they are."""
        if seconds is None:
            return self
        window = min(round(seconds * SAMPLE_RATE), MAX_WINDOW_SAMPLES)
        longest = min(window + _BEYOND_WINDOW, MAX_WINDOW_SAMPLES)
        return replace(self, window=window, max_window=max(self.max_window, longest))


PROFILES = {
    "captions": StreamOptions(),
    "agent": StreamOptions(
        window=round(2.8 * SAMPLE_RATE),
        hop=round(0.32 * SAMPLE_RATE),
        margin=round(0.48 * SAMPLE_RATE),
        endpoint_silence=round(0.35 * SAMPLE_RATE),
    ),
    "quality": StreamOptions(
        window=round(5.6 * SAMPLE_RATE),
        hop=round(0.48 * SAMPLE_RATE),
        margin=round(1.12 * SAMPLE_RATE),
        max_window=15 * SAMPLE_RATE,
        endpoint_silence=round(0.8 * SAMPLE_RATE),
    ),
}
