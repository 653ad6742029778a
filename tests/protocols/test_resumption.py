"""A session that outlives its connections, without a socket and a clock."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from protocols.actions import Close, Send
from protocols.resumption import (
    NotResumable,
    Received,
    Resumption,
    Sent,
    Waiting,
)

WINDOW_S = 30.0
GREETING = Send('{"type":"ready"}')


def said(text: str, *, droppable: bool = False) -> Send:
    return Send(json.dumps({"text": text}), droppable)


def begun(**bounds: int) -> Resumption:
    """Return a session that has greeted its client."""
    resumption = Resumption(window_s=WINDOW_S, **bounds)
    resumption.note_sent(GREETING)
    return resumption


def after(resumption: Resumption, number: int) -> list[Sent]:
    """Return all that is kept after a number, in order."""
    found = []
    while (following := resumption.next_after(number)) is not None:
        found.append(following)
        number = following.number
    return found


class TestMessagesOfTheClient:
    def test_all_is_counted(self) -> None:
        """Audio by its bytes, too; empty messages as well."""
        resumption = begun()

        taken = [resumption.take(own) for own in (b"1234", "{}", b"", b"56")]

        assert taken == [b"1234", "{}", b"", b"56"]
        assert resumption.received == Received(n_messages=4, audio_bytes=6)

    @pytest.mark.parametrize("cuts", [[6], [1, 3, 2], [4, 2]])
    def test_audio_that_came_before_is_passed_over(self, cuts: Sequence[int]) -> None:
        """However it is cut now; control messages are not."""
        resumption = begun()
        resumption.take(b"1234")
        resumption.lose(0.0)
        resumption.resume(1.0, number=0, position=0)

        again, taken = b"123456", []
        for length in cuts:
            taken.append(resumption.take(again[:length]))
            again = again[length:]
        control = resumption.take("{}")

        audio = [own for own in taken if isinstance(own, bytes)]
        assert b"".join(audio) == b"56"
        assert control == "{}"
        assert resumption.received.audio_bytes == 6

    def test_a_position_beyond_skips_nothing(self) -> None:
        """What is between is missing, and the client knows that."""
        resumption = begun()
        resumption.take(b"12")
        resumption.lose(0.0)
        resumption.resume(1.0, number=0, position=100)

        assert resumption.take(b"34") == b"34"


class TestMessagesOfTheServer:
    def test_each_but_the_greeting_has_a_number(self) -> None:
        """Beside its own fields; the text stays JSON."""
        resumption = begun()

        sent = [resumption.note_sent(said(text)) for text in ("a", "b")]

        assert [json.loads(own.text) for own in sent] == [
            {"seq": 1, "text": "a"},
            {"seq": 2, "text": "b"},
        ]
        assert after(resumption, 0) == sent
        assert after(resumption, 1) == sent[1:]
        assert after(resumption, 2) == []

    def test_of_droppable_messages_in_a_row_the_newest_is_kept(self) -> None:
        """It says all that those before it said."""
        resumption = begun()
        for text in "abc":
            resumption.note_sent(said(text, droppable=True))
        resumption.note_sent(said("final"))

        assert [json.loads(own.text)["text"] for own in after(resumption, 0)] == [
            "c",
            "final",
        ]

    def test_no_more_are_kept_than_allowed(self) -> None:
        """By number and by bytes; a client that lacks an older one cannot go on."""
        few, short = begun(max_messages=2), begun(max_bytes=60)
        for text in ("a" * 20, "b" * 20, "c" * 20):
            few.note_sent(said(text))
            short.note_sent(said(text))

        assert [own.number for own in after(few, 1)] == [2, 3]
        assert [own.number for own in after(short, 2)] == [3]
        assert short.n_kept_bytes <= 60
        for resumption in (few, short):
            resumption.lose(0.0)
            with pytest.raises(NotResumable, match="too much was sent"):
                resumption.resume(1.0, number=0, position=None)

    def test_the_newest_is_kept_however_long_it_is(self) -> None:
        """The text of a whole session may be longer than all that is kept."""
        resumption = begun(max_bytes=10)
        resumption.note_sent(said("x" * 100))

        assert [own.number for own in after(resumption, 0)] == [1]

    def test_what_the_client_has_is_forgotten(self) -> None:
        """It says so when it comes back."""
        resumption = begun()
        for text in "ab":
            resumption.note_sent(said(text))
        resumption.lose(0.0)
        resumption.resume(1.0, number=2, position=None)

        assert resumption.n_kept_bytes == 0
        assert after(resumption, 2) == []


class TestTime:
    def test_a_client_may_be_away_for_the_window(self) -> None:
        """Counted anew each time."""
        resumption = begun()
        for lost in (0.0, 100.0):
            assert resumption.lose(lost) == lost + WINDOW_S
            resumption.resume(lost + WINDOW_S - 0.1, number=0, position=None)
        resumption.lose(200.0)

        with pytest.raises(NotResumable, match="took too long"):
            resumption.resume(200.0 + WINDOW_S, number=0, position=None)

    def test_a_connection_whose_loss_is_not_known_can_be_replaced(self) -> None:
        """Networks break without a sign."""
        begun().resume(1e6, number=0, position=None)

    def test_a_number_that_was_never_sent_is_refused(self) -> None:
        """The client means another session."""
        with pytest.raises(NotResumable, match="no message with this number"):
            begun().resume(0.0, number=1, position=None)

    def test_after_the_end_its_last_messages_can_be_had(self) -> None:
        """For as long as a lost connection would be waited for, and no longer."""
        resumption = begun()
        resumption.note_sent(said("all"))
        resumption.finish(Close(1000), 0.0)
        resumption.resume(WINDOW_S - 0.1, number=0, position=None)
        assert len(after(resumption, 0)) == 1
        resumption.finish(Close(1000), 100.0)

        with pytest.raises(NotResumable):
            resumption.resume(100.0 + WINDOW_S, number=0, position=None)

    def test_an_end_while_the_client_is_away_lengthens_nothing(self) -> None:
        """It counts from the loss."""
        resumption = begun()
        resumption.lose(0.0)
        resumption.finish(Close(1008), 29.0)

        with pytest.raises(NotResumable):
            resumption.resume(30.0, number=0, position=None)


class TestWaiting:
    def test_those_that_have_ended_go_first(self) -> None:
        """They hold no place, and nearly always nobody comes for them."""
        waiting = Waiting(2)

        assert waiting.keep("a", holder=None, finished=False) == ()
        assert waiting.keep("b", holder=None, finished=True) == ()
        assert waiting.keep("c", holder=None, finished=False) == ("b",)
        assert waiting.keep("d", holder=None, finished=False) == ("a",)
        assert (len(waiting), waiting.n_open) == (2, 2)

    def test_then_those_of_the_key_that_has_most(self) -> None:
        """Its oldest; so no client takes the others' away."""
        waiting = Waiting(3)
        waiting.keep("hers", holder="ann", finished=False)
        for token in ("his 1", "his 2"):
            waiting.keep(token, holder="bob", finished=False)

        assert waiting.keep("his 3", holder="bob", finished=False) == ("his 1",)

    def test_room_is_made_by_the_oldest(self) -> None:
        """Only by those that hold a place."""
        waiting = Waiting(9)
        waiting.keep("done", holder=None, finished=True)
        for token in "ab":
            waiting.keep(token, holder=None, finished=False)
        waiting.release("a")

        assert waiting.give_up_oldest() == "b"
        assert waiting.give_up_oldest() is None


class Network(RuleBasedStateMachine):
    """Nothing is lost and nothing comes twice, whatever the network does.

    The client speaks bytes 0, 1, 2 … and numbers its control messages; the session
    says numbers, and begins each again a few times before it is final, as partials do.
    """

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.resumption = begun()
        self.connected = True
        self.log: list[str | bytes] = []  # all that the client wants to say
        self.n_on_their_way = 0  # first of it that was not put on the wire
        self.up: list[str | bytes] = []  # on the way to the session
        self.down: list[str] = []  # on the way to the client
        self.heard: list[str | bytes] = []  # by the session
        self.spoken: list[str] = []  # finals of the session
        self.read: list[str] = []  # finals that the client has
        self.shown = ""  # newest text that the client has
        self.newest = ""  # newest text of the session
        self.number = 0
        self.n_told = 0

    # --- the client and the session speak ---

    @rule(length=st.integers(1, 5), audio=st.booleans())
    def say(self, length: int, audio: bool) -> None:
        """The client says something; it stays with it while it is away."""
        n = sum(len(own) for own in self.log if isinstance(own, bytes))
        message = bytes((n + k) % 251 for k in range(length))
        self.log.append(message if audio else str(len(self.log)))

    @precondition(lambda self: self.connected)
    @rule()
    def put_on_the_wire(self) -> None:
        self.up += self.log[self.n_on_their_way :]
        self.n_on_their_way = len(self.log)

    @rule(final=st.booleans())
    def tell(self, final: bool) -> None:
        """The session says something, whether the client is there or not."""
        self.n_told += 1
        text = f"text {self.n_told}"
        sent = self.resumption.note_sent(said(text, droppable=not final))
        self.newest = text
        if final:
            self.spoken.append(text)
        if self.connected:
            self.down.append(sent.text)

    # --- the network ---

    @precondition(lambda self: self.up)
    @rule(n=st.integers(1, 5))
    def carry_up(self, n: int) -> None:
        for message in self.up[:n]:
            if taken := self.resumption.take(message):
                self.heard.append(taken)
        del self.up[:n]

    @precondition(lambda self: self.down)
    @rule(n=st.integers(1, 5))
    def carry_down(self, n: int) -> None:
        for text in self.down[:n]:
            self.take_in(text)
        del self.down[:n]

    def take_in(self, text: str) -> None:
        message = json.loads(text)
        assert message["seq"] > self.number, "a message was told twice"
        self.number = message["seq"]
        self.shown = message["text"]
        if self.shown in self.spoken:
            self.read.append(self.shown)

    @precondition(lambda self: self.connected)
    @rule(noticed=st.booleans())
    def cut(self, noticed: bool) -> None:
        """All that is on its way is lost; the server may notice nothing."""
        self.up.clear()
        self.down.clear()
        self.connected = False
        if noticed:
            self.resumption.lose(self.now)

    @precondition(lambda self: not self.connected)
    @rule(away_s=st.floats(0, 29), named=st.booleans(), back=st.integers(0, 20))
    def come_back(self, away_s: float, named: bool, back: int) -> None:
        """The client goes on where the server says, or says itself from where."""
        self.now += away_s
        had = self.resumption.received
        position = max(0, had.audio_bytes - back) if named else None
        self.resumption.resume(self.now, number=self.number, position=position)
        self.up = self.log[had.n_messages :]
        if position is not None:
            audio = b"".join(own for own in self.log if isinstance(own, bytes))
            again = audio[position : had.audio_bytes]
            if self.up and isinstance(first := self.up[0], bytes):
                self.up[0] = again + first
            elif again:
                self.up.insert(0, again)
        self.n_on_their_way = len(self.log)
        self.down = [own.text for own in after(self.resumption, self.number)]
        self.connected = True

    @precondition(lambda self: not self.connected)
    @rule()
    def come_back_too_late(self) -> None:
        """It is told so, and the session is over."""
        self.resumption.lose(self.now)
        with pytest.raises(NotResumable):
            self.resumption.resume(
                self.now + WINDOW_S, number=self.number, position=None
            )
        self.begin()

    # --- what holds ---

    @invariant()
    def what_was_said_is_heard_once_and_in_order(self) -> None:
        assert joined(self.heard) == joined(self.log)[: len(joined(self.heard))]
        assert self.resumption.received.n_messages == len(self.heard)

    @invariant()
    def finals_are_read_once_and_in_order(self) -> None:
        assert self.read == self.spoken[: len(self.read)]

    def teardown(self) -> None:
        """In the end, with a connection, all is there."""
        if not hasattr(self, "connected"):
            return
        if not self.connected:
            self.come_back(1.0, named=False, back=0)
        self.put_on_the_wire()
        self.carry_up(len(self.up))
        self.carry_down(len(self.down))
        assert joined(self.heard) == joined(self.log)
        assert self.read == self.spoken
        assert self.shown == self.newest


def joined(messages: Sequence[str | bytes]) -> list[str | int]:
    """Write messages so that the cuts of audio do not matter."""
    return [
        part for own in messages for part in ([own] if isinstance(own, str) else own)
    ]


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
