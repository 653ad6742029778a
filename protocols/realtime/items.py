"""Show the utterances of a stream to a client of the Realtime API, as items.

An utterance is one item, with one id from its first event to its last. Only one is
open at a time, so the events of another end those before it.

Pure: no I/O, clock, settings or threads; ids come from outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import schemas
from audio.samples import SAMPLE_RATE
from protocols.realtime import events
from protocols.realtime.events import ServerEvent
from text.ctc import Token


@dataclass(slots=True)
class _Item:
    """An utterance as the client sees it.

    Attributes:
        sent: All deltas so far, joined.
    """

    id: str
    sent: str = ""
    started: bool = False
    stopped: bool = False
    committed: bool = False


class Items:
    """The items of one session whose utterances have no final yet.

    Each method returns the events that tell the client.

    Args:
        new_id: Makes a new id, which begins with a word and an underscore.
        beta: See the attribute.

    Attributes:
        beta: Whether the client speaks the protocol of the beta; it may change.
        last_final: Number of the last utterance that had its final.
    """

    def __init__(self, new_id: Callable[[str], str], *, beta: bool) -> None:
        self._new_id = new_id
        self.beta = beta
        self._items: dict[int, _Item] = {}  # by the number of their utterance
        self._last_item: str | None = None  # the last that was committed
        self._last_stop = 0  # where speech ended last
        self.last_final = 0

    def id_of(self, utterance: int) -> str:
        """Return the id of an utterance's item."""
        return self._item(utterance).id

    def start(
        self, utterance: int, position: int, *, padding: int
    ) -> list[ServerEvent]:
        """Tell the client that speech began.

        Args:
            position: Where it began.
            padding: Samples before it that belong to the utterance, too.
        """
        before = self._end_before(utterance, position)
        if self._item(utterance).started:  # of audio that was cleared
            del self._items[utterance]
        item = self._item(utterance)
        item.started = True
        started = events.SpeechStarted(
            event_id=self._new_id("event"),
            audio_start_ms=_milliseconds(max(position - padding, self._last_stop)),
            item_id=item.id,
        )
        return [*before, started]

    def end(self, utterance: int, position: int) -> list[ServerEvent]:
        """Tell the client that speech is over, unless it knows already."""
        return [
            *self._end_before(utterance, position),
            *self._stop(self._item(utterance), position),
            *self.commit(utterance),
        ]

    def commit(self, utterance: int) -> list[ServerEvent]:
        """Tell the client, once, that an utterance is an item of the conversation."""
        item = self._item(utterance)
        if item.committed:
            return []
        item.committed = True
        previous, self._last_item = self._last_item, item.id
        committed = events.Committed(
            event_id=self._new_id("event"), item_id=item.id, previous_item_id=previous
        )
        kinds = (
            (events.ItemCreated,) if self.beta else (events.ItemAdded, events.ItemDone)
        )
        return [
            committed,
            *(
                kind(
                    event_id=self._new_id("event"),
                    previous_item_id=previous,
                    item=events.Item(id=item.id),
                )
                for kind in kinds
            ),
        ]

    def extend(
        self, utterance: int, text: str, tokens: Sequence[Token] | None
    ) -> list[ServerEvent]:
        """Send the text after the deltas so far, if the text begins with them.

        Args:
            tokens: Tokens of the text, if their probabilities are to be sent.
        """
        item = self._item(utterance)
        if not text.startswith(item.sent) or text == item.sent:
            return []
        probs = None
        if tokens is not None:
            new = _spelling(text, tokens, since=len(item.sent))
            probs = tuple(schemas.log_probs(new))
        delta, item.sent = text[len(item.sent) :], text
        return [
            events.Delta(
                event_id=self._new_id("event"),
                item_id=item.id,
                delta=delta,
                logprobs=probs,
            )
        ]

    def close(self, utterance: int) -> None:
        """Forget an utterance that has its final."""
        del self._items[utterance]
        self.last_final = utterance

    def clear(self) -> None:
        """Forget the utterances that were not committed."""
        self._items = {
            utterance: item for utterance, item in self._items.items() if item.committed
        }

    def _end_before(self, utterance: int, position: int) -> list[ServerEvent]:
        told: list[ServerEvent] = []
        for number in range(self.last_final + 1, utterance):
            told += self._stop(self._item(number), position)
            told += self.commit(number)
        return told

    def _stop(self, item: _Item, position: int) -> list[ServerEvent]:
        if item.stopped or not item.started:
            return []
        item.stopped = True
        self._last_stop = position
        return [
            events.SpeechStopped(
                event_id=self._new_id("event"),
                audio_end_ms=_milliseconds(position),
                item_id=item.id,
            )
        ]

    def _item(self, utterance: int) -> _Item:
        if utterance not in self._items:
            self._items[utterance] = _Item(self._new_id("item"))
        return self._items[utterance]


def _spelling(text: str, tokens: Sequence[Token], *, since: int) -> list[Token]:
    """Return the tokens that spell a text from one of its characters on.

    A pause may be written as a space that no token has, and a token may be a space that
    is not written.
    """
    found: list[Token] = []
    position = 0
    for token in tokens:
        blank = text[position : position + 1].isspace()
        position += blank and not token.text.isspace()
        if token.text and text.startswith(token.text, position):
            if position >= since:
                found.append(token)
            position += len(token.text)
    return found


def _milliseconds(position: int) -> int:
    return position * 1000 // SAMPLE_RATE
