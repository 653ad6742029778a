"""Ways to stream: this server's, and two others from their published descriptions.

Only policies are compared: all hear the same audio, the same voice activity and the
same model, and run on the same clock. We wrote the code of the other two ourselves.

`SeedPolicy` is that of the original omniASR-server: a buffer of 5 s. Since it keeps the
whole buffer and waits for 2.5 s more, it decodes windows of 7.5 s every 2.5 s; each
begins 2.5 s after the last. The common beginning of the texts of two successive windows
is confirmed. Half a second of silence ends the utterance: the rest of the buffer is
decoded, and its text appended to the confirmed text.

`WhisperStreamingPolicy` is that of whisper_streaming (Macháček et al. 2023,
arXiv:2307.14743), with CTC words in place of Whisper's: at least 1 s of new audio a
decode, of everything since the last trim; words that begin more than 0.1 s before
the last committed one ends are dropped, and up to five that repeat the committed
ones nearby; what two successive decodes then agree on, word by word, is committed.
A buffer of more than 15 s is cut at the last committed word. Half a second of
silence ends the utterance.

Pure: no I/O, clock or settings. Not safe for concurrent use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.streams.traces import EarlyEnd, Endpoint, Message
from engine.interface import ModelInput
from engine.work_queue import Work
from live.events import (
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechEnded,
    SpeechResumed,
    UtteranceFailed,
    UtteranceFinal,
)
from live.session import StreamSession
from live.utterance import Request
from text import ctc
from text.ctc import FrameLabels, Vocabulary, Word
from text.keywords import Speller
from vad.spans import SpeechEnd, SpeechEvent, SpeechSpans, SpeechStart

_END_SILENCE = SAMPLE_RATE // 2
_PRE_ROLL = round(0.3 * SAMPLE_RATE)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A window that a policy wants to be labelled.

    Attributes:
        due_in_s: Seconds until it is needed.
        key: The policy's key of the window.
    """

    window: ModelInput
    work: Work
    due_in_s: float = 0.0
    key: object = None


Said = Message | Endpoint | EarlyEnd

# Makes words of labels and the position of the first sample.
Read = Callable[[FrameLabels, int], tuple[Word, ...]]


class Policy(Protocol):
    """A policy for one stream. Its messages have no time yet: `at_s` is 0."""

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[Said]: ...

    def flush(self) -> list[Said]: ...

    def end(self) -> list[Said]: ...

    def requests(self) -> list[Asked]: ...

    def accept(self, asked: Asked, frames: FrameLabels) -> list[Said]: ...

    def gives_up(self, asked: Asked) -> bool:
        """Whether a waiting window is no longer needed.

        If so, the policy forgets it, and the queue must do the same.
        """
        ...


class SessionPolicy:
    """This server's own: the session that serves live streams.

    Args:
        session: Fresh.
        keywords: Finds keywords, if the session has any.
    """

    def __init__(self, session: StreamSession, keywords: Speller | None = None) -> None:
        self._session = session
        self._keywords = keywords
        self._again: list[Request] = []  # to be asked for in another way

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[Said]:
        return _said(self._session.push_audio(samples, probabilities))

    def flush(self) -> list[Said]:
        return _said(self._session.flush())

    def end(self) -> list[Said]:
        return _said(self._session.end())

    def requests(self) -> list[Asked]:
        again, self._again = self._again, []
        return [_asked(request) for request in [*again, *self._session.requests()]]

    def accept(self, asked: Asked, frames: FrameLabels) -> list[Said]:
        assert isinstance(asked.key, Request)
        if self._keywords is not None and asked.key.keywords:
            frames = self._keywords.spell(frames, asked.key.keywords)
        return _said(self._session.accept(asked.key, frames))

    def gives_up(self, asked: Asked) -> bool:
        assert isinstance(asked.key, Request)
        if asked.key is self._session.replaceable():
            asked.key.withdraw()
        if asked.key.wanted and asked.work is not asked.key.work:
            self._again.append(asked.key)  # a client waits for it now
            return True
        return not asked.key.wanted


def _asked(request: Request) -> Asked:
    """Ask for a window as live streams do."""
    return Asked(request.window, request.work, request.due_in_s, request)


def _said(events: Sequence[LiveEvent]) -> list[Said]:
    """Turn a session's events into the benchmark's messages."""
    said: list[Said] = []
    for event in events:
        if isinstance(event, Partial):
            texts = (event.committed_text, event.pending_text)
            said.append(Message(0.0, event.utterance, event.position, *texts))
        elif isinstance(event, UtteranceFinal):
            said.append(
                Message(0.0, event.utterance, event.end, event.text, final=True)
            )
        elif isinstance(event, SpeechEnded):
            said.append(Endpoint(0.0, event.position))
        elif isinstance(event, EagerEnd):
            said.append(EarlyEnd(0.0, event.utterance, event.text))
        elif isinstance(event, SpeechResumed):
            said.append(EarlyEnd(0.0, event.utterance, None))
        elif isinstance(event, UtteranceFailed):
            raise event.error
    return said


class _Buffered:
    """The common parts of both: an utterance's audio, and the end of speech."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._vad = SpeechSpans(min_silence=_END_SILENCE)
        self._recent: Samples = np.empty(0, np.float32)  # in silence
        self._end = 0  # one past the newest sample
        self._utterance = 0
        self._audio: list[Samples] = []
        self._start = 0  # of the audio that is held
        self._speaking = False
        self._closing: int | None = None  # where the utterance that ends, ends
        self._on_its_way: Asked | None = None

    @property
    def _held(self) -> int:
        return sum(map(len, self._audio)) if self._speaking else 0

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[Said]:
        self._end += len(samples)
        if self._speaking:
            self._audio.append(samples)
        else:
            self._recent = np.concatenate([self._recent, samples])[-SAMPLE_RATE:]
        said: list[Said] = []
        for event in self._vad.push_probabilities(probabilities):
            said += self._hear(event)
        return said

    def flush(self) -> list[Said]:
        if self._speaking and self._closing is None:
            self._closing = self._end
        return []

    def end(self) -> list[Said]:
        said: list[Said] = []
        for event in self._vad.finish(self._end):
            said += self._hear(event)
        return said

    def gives_up(self, asked: Asked) -> bool:
        return False

    def _hear(self, event: SpeechEvent) -> list[Said]:
        if isinstance(event, SpeechStart):
            if not self._speaking:
                self._begin(event.position - _PRE_ROLL)
            return []
        if self._speaking and isinstance(event, SpeechEnd):
            self._closing = self._end
            return [Endpoint(0.0, event.position)]
        return []

    def _begin(self, start: int) -> None:
        self._speaking = True
        self._utterance += 1
        n = min(max(0, self._end - start), len(self._recent))
        self._audio = [self._recent[len(self._recent) - n :]]
        self._start = self._end - n
        self._recent = self._recent[:0]

    def _close(self, end: int) -> None:
        """End the utterance; what was said after it begins the next one."""
        self._keep_from(end)
        self._recent = self._audio[0]
        self._speaking, self._closing = False, None
        if self._vad.speaking:
            self._begin(end)

    def _window(self, start: int) -> ModelInput:
        joined = np.concatenate(self._audio)
        return ModelInput(joined[start - self._start :], position=start)

    def _keep_from(self, start: int) -> None:
        joined = np.concatenate(self._audio)
        self._audio = [joined[start - self._start :]]
        self._start = start


class SeedPolicy(_Buffered):
    """See the module's description.

    Args:
        read: What makes words of labels.
    """

    _CHUNK = 5 * SAMPLE_RATE
    _STEP = _CHUNK // 2

    def __init__(self, read: Read) -> None:
        super().__init__(read)
        self._reset()

    def _reset(self) -> None:
        self._next = self._CHUNK  # held audio at which a window is due
        self._last: str | None = None
        self._confirmed = ""

    def requests(self) -> list[Asked]:
        if self._on_its_way is not None or not self._speaking:
            return []
        if self._held >= self._next:
            # All that is held, from now on half a chunk more than a chunk.
            end = self._start + self._next
            window = self._window(self._start)
            window = ModelInput(window.samples[: self._next], position=self._start)
            self._on_its_way = Asked(window, Work.STREAM_PARTIAL)
            self._keep_from(max(self._start, end - self._CHUNK))
            self._next = self._CHUNK + self._STEP
        elif self._closing is not None:
            window = self._window(self._start)
            self._on_its_way = Asked(window, Work.STREAM_FINAL, key=self._closing)
        else:
            return []
        return [self._on_its_way]

    def accept(self, asked: Asked, frames: FrameLabels) -> list[Said]:
        self._on_its_way = None
        text = ctc.text(self._read(frames, asked.window.position))
        pending = self._agree(text)
        final = isinstance(asked.key, int)
        space = " " if self._confirmed and pending else ""
        message = Message(
            at_s=0.0,
            utterance=self._utterance,
            position=asked.window.position + len(asked.window),
            committed=self._confirmed + (space + pending if final else ""),
            pending="" if final else space + pending,
            final=final,
        )
        if final:
            self._reset()
            self._close(message.position)
        return [message]

    def _agree(self, text: str) -> str:
        """Confirm what two texts have in common; return what is pending."""
        if self._last is not None:
            common = _common_prefix(self._last, text)
            if common.startswith(self._confirmed):
                self._confirmed = common
        self._last = text
        if text.startswith(self._confirmed):
            return text[len(self._confirmed) :].strip()
        return text


class WhisperStreamingPolicy(_Buffered):
    """See the module's description.

    Args:
        read: What makes words of labels.
    """

    _MIN_CHUNK = SAMPLE_RATE
    _TRIM_AFTER = 15 * SAMPLE_RATE
    _BEFORE = SAMPLE_RATE // 10
    _NEARBY = SAMPLE_RATE
    _MOST_REPEATED = 5

    def __init__(self, read: Read) -> None:
        super().__init__(read)
        self._reset()

    def _reset(self) -> None:
        self._committed: list[Word] = []
        self._before: list[Word] = []  # what the last decode had after these
        self._heard = 0  # up to where audio was decoded

    def requests(self) -> list[Asked]:
        if self._on_its_way is not None or not self._speaking:
            return []
        end = self._start + self._held
        if self._closing is None and end - max(self._heard, self._start) < (
            self._MIN_CHUNK
        ):
            return []
        final = self._closing is not None
        work = Work.STREAM_FINAL if final else Work.STREAM_PARTIAL
        self._heard = end
        self._on_its_way = Asked(self._window(self._start), work, key=self._closing)
        return [self._on_its_way]

    def accept(self, asked: Asked, frames: FrameLabels) -> list[Said]:
        self._on_its_way = None
        new = self._new(self._read(frames, asked.window.position))
        final = isinstance(asked.key, int)
        n = len(new) if final else _n_common(new, self._before)
        self._committed += new[:n]
        self._before = new[n:]
        message = Message(
            at_s=0.0,
            utterance=self._utterance,
            position=asked.window.position + len(asked.window),
            committed=ctc.text(self._committed),
            pending=_following(self._committed, self._before),
            final=final,
        )
        if final:
            self._reset()
            self._close(message.position)
        elif self._held > self._TRIM_AFTER and self._committed:
            self._keep_from(max(self._start, self._committed[-1].end))
        return [message]

    def _new(self, words: Sequence[Word]) -> list[Word]:
        """Leave out what is committed already."""
        if not self._committed:
            return list(words)
        last = self._committed[-1].end
        new = [word for word in words if word.start > last - self._BEFORE]
        if new and abs(new[0].start - last) < self._NEARBY:
            most = min(len(new), len(self._committed), self._MOST_REPEATED)
            for n in range(1, most + 1):
                if _texts(self._committed[-n:]) == _texts(new[:n]):
                    return new[n:]
        return new


def reader(vocabulary: Vocabulary) -> Read:
    """Make words of labels the plain way."""
    return lambda frames, position: ctc.words(
        ctc.tokens(frames, vocabulary), position=position
    )


def _texts(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]


def _n_common(left: Sequence[Word], right: Sequence[Word]) -> int:
    n = 0
    for a, b in zip(left, right, strict=False):
        if a.text != b.text:
            break
        n += 1
    return n


def _common_prefix(left: str, right: str) -> str:
    n = 0
    while n < min(len(left), len(right)) and left[n] == right[n]:
        n += 1
    return left[:n]


def _following(committed: Sequence[Word], pending: Sequence[Word]) -> str:
    text = ctc.text(pending)
    separate = (
        committed
        and pending
        and ctc.pause_separates(committed[-1].text, pending[0].text)
    )
    return " " + text if separate else text
