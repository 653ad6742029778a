"""Drive a live session without a server: audio in, every window labelled at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from audio.samples import Samples
from engine.interface import ModelInput
from live.events import LiveEvent, Partial, UtteranceFinal
from live.options import StreamOptions
from live.session import StreamSession
from live.utterance import Request
from tests.support.scripted_speech import VOCABULARY, Encoder, Script
from text.ctc import FrameLabels
from text.keywords import Speller
from text.word_times import UNMEASURED
from vad.spans import FRAME_SAMPLES

Label = Callable[[ModelInput], FrameLabels]


def scripted(encoder: Encoder) -> Label:
    """Let a scripted encoder label what a session asks for."""
    return lambda window: encoder.label(window.samples)


@dataclass
class Listener:
    """A session, the model that labels its windows, and its events.

    Attributes:
        events: All of them, in order.
        asked: All windows that were labelled.
        keywords: Finds keywords, if the session has any.
    """

    session: StreamSession
    label: Label
    events: list[LiveEvent] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    held_back: bool = False
    keywords: Speller | None = None

    def hear(
        self, samples: Samples, probabilities: Sequence[float], blocks: Sequence[int]
    ) -> None:
        """Push samples in blocks of given lengths, again and again, and label."""
        first = k = 0
        while first < len(samples):
            end = min(len(samples), first + blocks[k % len(blocks)])
            start_frame = self.session.position // FRAME_SAMPLES
            end_frame = (self.session.position + end - first) // FRAME_SAMPLES
            self.push_audio(samples[first:end], probabilities[start_frame:end_frame])
            first, k = end, k + 1

    def push_audio(self, samples: Samples, probabilities: Sequence[float]) -> None:
        self.events += self.session.push_audio(samples, probabilities)
        self.pump()

    def flush(self) -> None:
        self.events += self.session.flush()
        self.pump()

    def clear(self) -> None:
        self.events += self.session.clear()
        self.pump()

    def end(self) -> None:
        self.events += self.session.end()
        self.pump()

    def pump(self) -> None:
        """Label everything that is asked for, unless the model is held back."""
        while not self.held_back and (requests := self.session.requests()):
            for request in requests:
                self.answer(request)

    def answer(self, request: Request) -> None:
        """Label a window."""
        self.asked.append(request)
        frames = self.label(request.window)
        if request.keywords and self.keywords is not None:
            frames = self.keywords.spell(frames, request.keywords)
        self.events += self.session.accept(request, frames)

    @property
    def finals(self) -> list[UtteranceFinal]:
        return [event for event in self.events if isinstance(event, UtteranceFinal)]

    @property
    def partials(self) -> list[Partial]:
        return [event for event in self.events if isinstance(event, Partial)]


def listener(
    options: StreamOptions | None = None, *, label: Label | None = None
) -> Listener:
    """Make a session of scripted speech."""
    session = StreamSession(
        vocabulary=VOCABULARY,
        offsets=UNMEASURED,
        options=options or StreamOptions(),
    )
    return Listener(session, label or scripted(Encoder()))


def listen_to(
    script: Script,
    options: StreamOptions | None = None,
    *,
    blocks: Sequence[int] = (1600,),
    n_wrong: int = 0,
) -> Listener:
    """Listen to a whole script."""
    heard = listener(options, label=scripted(Encoder(n_wrong=n_wrong)))
    heard.hear(script.samples, script.probabilities, blocks)
    heard.end()
    return heard


def silence(seconds: float) -> tuple[Samples, list[float]]:
    """Return silence that begins at the end of a frame, and what VAD says of it."""
    n = round(seconds * 16_000)
    return np.zeros(n, np.float32), [0.0] * (n // FRAME_SAMPLES + 1)
