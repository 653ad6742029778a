"""Let a session outlive its connection: what came, what was sent, who is waited for.

The server tells the client how much it has received, the client sends the rest again.
The client tells the server which numbered message it had last, the server sends the
rest again. So no audio is heard twice, and no message is missing or told twice, however
often the connection is lost.

Messages that were sent are kept up to a bound, the newest ones. A client that lacks
more than these cannot go on, and gets a new session. A number stands on each message,
instead of a count on either side, so that a droppable message need not be kept once a
newer one is there.

Pure: no I/O, clock, settings or threads; `now` is an argument, in seconds.
"""

from collections import Counter, deque
from dataclasses import dataclass

from protocols.actions import Close, CloseCode, Send

# A client closes with this a connection that does not work, to go on over another one.
COMING_BACK = 4000
# The server closes with this a connection whose session goes on over another one.
TAKEN_OVER = 4001

# How connections end whose clients may come back: without a close, after a ping without
# an answer, and on purpose. Any other close of a client ends its session.
LOST = frozenset(
    {int(CloseCode.ABNORMAL_CLOSURE), int(CloseCode.INTERNAL_ERROR), COMING_BACK}
)

# Most of what was sent that is kept for each session: minutes of finals.
MOST_MESSAGES = 256
MOST_BYTES = 256 * 1024


class NotResumable(Exception):
    """The session cannot go on from where its client is; the text says why."""


@dataclass(frozen=True, slots=True)
class Received:
    """What the server has received from a client since its session began.

    Attributes:
        n_messages: Number of messages, audio and control.
        audio_bytes: Length of all audio.
    """

    n_messages: int = 0
    audio_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was sent.

    Attributes:
        number: Its number, from 1; 0 for the greeting, which is not sent again.
        text: A JSON object, which has the number as `seq`.
        droppable: Whether the next message says all that this one does.
    """

    number: int
    text: str
    droppable: bool


class Resumption:
    """The connections of one session, from the server's side.

    Args:
        window_s: How long a client may be away, in seconds.
        max_messages: Most messages that are kept.
        max_bytes: Most bytes of them in UTF-8; the newest is always kept.

    Attributes:
        received: What came so far.
        close: How the session has ended; None if it has not.
    """

    def __init__(
        self,
        *,
        window_s: float,
        max_messages: int = MOST_MESSAGES,
        max_bytes: int = MOST_BYTES,
    ) -> None:
        self._window_s = window_s
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._until: float | None = None  # while there is no connection
        self._skip = 0  # bytes of audio that come once more
        self._sent: deque[Sent] = deque()
        self._n_bytes = 0
        self._next = 0  # number of the next message
        self._forgotten = 0  # number of the newest that is kept no more
        self.received = Received()
        self.close: Close | None = None

    @property
    def n_kept_bytes(self) -> int:
        """Length of the messages that are kept."""
        return self._n_bytes

    # --- messages ---

    def take(self, message: str | bytes) -> str | bytes | None:
        """Take a message of the client.

        Returns:
            The message without the audio that came before; None if nothing is left.
        """
        known = self.received
        if isinstance(message, str):
            self.received = Received(known.n_messages + 1, known.audio_bytes)
            return message
        skipped = min(self._skip, len(message))
        self._skip -= skipped
        if skipped and skipped == len(message):
            return None
        rest = message[skipped:]
        self.received = Received(known.n_messages + 1, known.audio_bytes + len(rest))
        return rest

    def note_sent(self, message: Send) -> Sent:
        """Keep a message that is sent, or would be if the client were there.

        The first is the greeting, which has no number.

        Args:
            message: Its text is a JSON object with at least one field.

        Returns:
            The message with its number.
        """
        number = self._next
        self._next += 1
        text = f'{{"seq":{number},{message.text[1:]}' if number else message.text
        sent = Sent(number, text, message.droppable)
        if self._sent and self._sent[-1].droppable and sent.droppable:
            self._n_bytes -= _length(self._sent.pop())
        self._sent.append(sent)
        self._n_bytes += _length(sent)
        while len(self._sent) > 1 and (
            len(self._sent) > self._max_messages or self._n_bytes > self._max_bytes
        ):
            oldest = self._sent.popleft()
            self._n_bytes -= _length(oldest)
            self._forgotten = oldest.number
        return sent

    def next_after(self, number: int) -> Sent | None:
        """Return the oldest message after a number; None if there is none.

        Raises:
            NotResumable: An older one is kept no more.
        """
        self._require(number)
        return next((own for own in self._sent if own.number > number), None)

    def _require(self, number: int) -> None:
        if number < self._forgotten:
            raise NotResumable("too much was sent since then")
        if number and number >= self._next:
            raise NotResumable("no message with this number was sent")

    # --- connections ---

    def lose(self, now: float) -> float:
        """Note that the connection is lost; return until when its client may return."""
        self._until = now + self._window_s
        return self._until

    def finish(self, close: Close, now: float) -> None:
        """Note that the session has ended; its last messages are kept for a while."""
        self.close = close
        if self._until is None:
            self.lose(now)

    def resume(self, now: float, *, number: int, position: int | None) -> None:
        """Go on over another connection, also if none is known to be lost.

        Args:
            number: Number of the last message that the client has; 0: none.
            position: Where, in bytes of the session's audio, the client goes on
                sending; None: where `received` ends.

        Raises:
            NotResumable: It took too long, or the client lacks too much.
        """
        if self._until is not None and now >= self._until:
            raise NotResumable("it took too long")
        self._require(number)
        while self._sent and self._sent[0].number <= number:
            self._n_bytes -= _length(self._sent.popleft())
        self._forgotten = max(self._forgotten, number)
        had = self.received.audio_bytes
        self._skip = 0 if position is None else max(0, had - position)
        self._until = None


def _length(message: Sent) -> int:
    return len(message.text.encode())


@dataclass(frozen=True, slots=True)
class _Kept:
    holder: str | None
    finished: bool


class Waiting:
    """The sessions that wait for their clients, up to a number of them.

    Args:
        most: The number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, _Kept] = {}  # the oldest is first

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_open(self) -> int:
        """Number of sessions that have not ended, so that they hold a place."""
        return sum(not own.finished for own in self._kept.values())

    def keep(
        self, token: str, *, holder: str | None, finished: bool
    ) -> tuple[str, ...]:
        """Keep a session.

        Args:
            token: Its token.
            holder: Name of its client's key.
            finished: Whether it has ended, so that only its last messages are kept.

        Returns:
            The tokens of sessions that are given up for it: those that have ended
            first, then the oldest of the holder that has most.
        """
        self.release(token)
        self._kept[token] = _Kept(holder, finished)
        given_up = []
        while len(self._kept) > self._most:
            given_up.append(self._least_needed())
            self.release(given_up[-1])
        return tuple(given_up)

    def release(self, token: str) -> None:
        """Keep a session no more, if it is kept."""
        self._kept.pop(token, None)

    def give_up_oldest(self) -> str | None:
        """Give up the session that has held a place longest; None if none does."""
        for token, own in self._kept.items():
            if not own.finished:
                self.release(token)
                return token
        return None

    def _least_needed(self) -> str:
        for token, own in self._kept.items():
            if own.finished:
                return token
        ((greediest, _),) = Counter(
            own.holder for own in self._kept.values()
        ).most_common(1)
        return next(t for t, own in self._kept.items() if own.holder == greediest)
