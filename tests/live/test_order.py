"""In which order utterances are told, however their labels come."""

import numpy as np

from audio.samples import SAMPLE_RATE
from audio_buffer import AudioBuffer
from live.events import Cause, UtteranceFailed, UtteranceFinal
from live.hearing import Hearing
from live.options import StreamOptions
from live.order import Order
from live.utterance import Request, Utterance
from tests.support.scripted_speech import VOCABULARY, Encoder
from text.word_times import UNMEASURED

HEARING = Hearing(VOCABULARY, UNMEASURED)


def ended(order: Order, start: int) -> Utterance:
    """End an utterance of one second."""
    utterance = Utterance(
        start,
        start,
        hearing=HEARING,
        options=StreamOptions(vad=False),
    )
    utterance.push_audio(np.zeros(SAMPLE_RATE, np.float32), [])
    utterance.close(Cause.FLUSH, start + SAMPLE_RATE)
    order.note_end(utterance)
    return utterance


def label(request: Request) -> None:
    request.utterance.accept(request, Encoder().label(request.window.samples))


class TestOrder:
    def test_finals_come_in_order_whatever_is_labelled_first(self) -> None:
        """The second waits for the first; then both come."""
        order = Order()
        for k in range(2):
            ended(order, k * SAMPLE_RATE)
        first, second = order.requests(AudioBuffer(capacity=1), None)
        assert order.n_waiting == 2 * SAMPLE_RATE

        label(second)
        told = [(order.settle(), order.all_told)]
        label(first)
        told += [(order.settle(), order.all_told), (order.settle(), order.all_told)]

        (nothing, before), (both, after), (no_more, _) = told
        assert [type(one) for one in both] == [UtteranceFinal, UtteranceFinal]
        assert [one.utterance for one in both] == [1, 2]
        assert (nothing, before, after, no_more) == ([], False, True, [])

    def test_a_failure_takes_its_turn(self) -> None:
        """So that no number is missing."""
        order = Order()
        ended(order, 0)
        (request,) = order.requests(AudioBuffer(capacity=1), None)
        error = MemoryError("too much")
        request.utterance.fail(request, error)

        (failed,) = order.settle()
        assert isinstance(failed, UtteranceFailed)
        assert (failed.utterance, failed.error) == (1, error)

    def test_a_number_that_was_given_up_is_given_again(self) -> None:
        """Clients see no gap."""
        order = Order()
        ended(order, 0)
        cleared, unknown, next_one = (
            Utterance(0, 0, hearing=HEARING, options=StreamOptions()) for _ in range(3)
        )
        assert order.number(cleared) == order.number(cleared) == 2
        order.forget(cleared)
        order.forget(unknown)

        assert order.number(next_one) == 2
