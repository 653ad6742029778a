"""Finals in written form on live streams: in order, and the same for early ones."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from live.events import Cause, EagerEnd, LiveEvent, Partial, TimedEvent, UtteranceFinal
from sockets.written import WrittenStream
from tests.support.fakes import ScriptedStream
from tests.text.test_written_form import words_of
from text.transcript import Segment
from text.written_form import rewritten, written


class Stream(ScriptedStream):
    """A stream that tells what it is given."""

    def __init__(self, told: Sequence[LiveEvent]) -> None:
        super().__init__()
        self._given = told

    async def events(self) -> AsyncIterator[Any]:
        for event in self._given:
            yield TimedEvent(event, 5.0, 1000)


class Writer:
    """Writes in capitals, after a moment, and counts."""

    def __init__(self) -> None:
        self.n_calls = 0

    async def write_final(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        self.n_calls += 1
        await asyncio.sleep(0)
        return tuple(
            written(own, rewritten(own.words, f"{own.text.upper()} {self.n_calls}"))
            for own in segments
        )


def spoken(text: str) -> tuple[Segment, ...]:
    return (Segment(words_of(text), (), -0.1, 0.0),) if text else ()


def final(text: str, utterance: int = 1) -> UtteranceFinal:
    return UtteranceFinal(utterance, 0, 900, Cause.ENDPOINT, spoken(text), 1000)


def listened(told: Sequence[LiveEvent], writer: Writer) -> list[TimedEvent]:
    async def listen() -> list[TimedEvent]:
        stream = WrittenStream(Stream(told), writer)
        return [event async for event in stream.events()]

    return asyncio.run(listen())


def test_finals_are_written_and_nothing_else() -> None:
    """In the order of the stream; the time that it took is part of the latency."""
    partial = Partial(1, 0, 900, words_of("one"), words_of("two"))

    first, second, third = listened([partial, final("one two"), final("", 2)], Writer())

    assert first.event == partial
    assert isinstance(second.event, UtteranceFinal)
    assert (second.event.text, second.event.raw) == ("ONE TWO 1", "one two")
    assert second.latency_ms >= 5.0
    assert isinstance(third.event, UtteranceFinal)
    assert third.event.text == ""


def test_a_final_has_the_text_of_its_early_final() -> None:
    """It is not written again, when the filter might have less time."""
    writer = Writer()
    early = EagerEnd(1, 0, 900, spoken("one two"))

    first, second = listened([early, final("one two")], writer)

    assert isinstance(first.event, EagerEnd)
    assert isinstance(second.event, UtteranceFinal)
    assert first.event.text == second.event.text == "ONE TWO 1"
    assert writer.n_calls == 1


def test_another_text_is_written_again() -> None:
    """The speaker went on after the early final."""
    early = EagerEnd(1, 0, 900, spoken("one"))

    _, second = listened([early, final("one two")], Writer())

    assert isinstance(second.event, UtteranceFinal)
    assert second.event.text == "ONE TWO 2"
