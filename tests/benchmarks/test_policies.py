"""The policies that the benchmark compares, with an oracle in place of a model."""

from collections.abc import Sequence

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE
from benchmarks.common.scoring import compare
from benchmarks.streams.policies import Policy, SeedPolicy, WhisperStreamingPolicy
from benchmarks.streams.traces import Endpoint, Message
from text.ctc import FrameLabels, Word
from vad.spans import FRAME_SAMPLES


class Oracle:
    """Hears every letter that is spoken within a window, and nothing else.

    Words have five letters and no pauses between them; no two begin alike that are
    near to each other.
    """

    def __init__(self, length_s: float, n_words: int) -> None:
        self.length = round(length_s * SAMPLE_RATE)
        self.words = [
            "".join(chr(ord("a") + (7 * n + 11 * k) % 26) for k in range(5))
            for n in range(n_words)
        ]
        self.text = " ".join(self.words)

    def read(self, frames: FrameLabels, position: int) -> tuple[Word, ...]:
        """Read the words of a window off its length and its position."""
        end = position + len(frames.ids)
        pace = self.length / len(self.words)
        found: list[Word] = []
        for n, word in enumerate(self.words):
            middles = [(n + (k + 0.5) / len(word)) * pace for k in range(len(word))]
            heard = [k for k, at in enumerate(middles) if position <= at < end]
            if heard:
                found.append(
                    Word(
                        text=word[heard[0] : heard[-1] + 1],
                        start=round(middles[heard[0]]),
                        end=round(middles[heard[-1]]),
                        confidence=1.0,
                        space_before=bool(found),
                    )
                )
        return tuple(found)


def listen(policy: Policy, speech: Sequence[tuple[int, bool]]) -> list[Message]:
    """Let a policy listen to spans of speech and of silence; return its messages."""
    said = []

    def label() -> None:
        while asked := policy.requests():
            for one in asked:
                n = len(one.window)
                frames = FrameLabels(
                    np.zeros(n, np.int32),
                    np.zeros(n, np.float32),
                    np.zeros(n, np.float32),
                )
                said.extend(policy.accept(one, frames))

    for length, speaking in speech:
        for _ in range(length // FRAME_SAMPLES):
            frame = np.zeros(FRAME_SAMPLES, np.float32)
            said.extend(policy.push_audio(frame, [1.0 if speaking else 0.0]))
            label()
        rest = np.zeros(length % FRAME_SAMPLES, np.float32)
        said.extend(policy.push_audio(rest, []))
        label()
    said.extend(policy.end())
    label()
    assert all(isinstance(one, Message | Endpoint) for one in said)
    return [one for one in said if isinstance(one, Message)]


def error_rate(text: str, oracle: Oracle) -> float:
    rate = compare(oracle.text, text, audio_s=1.0).score.word_error_rate
    assert rate is not None
    return rate


class TestSeed:
    @pytest.mark.parametrize(
        ("length_s", "percent"), [(3.7, 0), (7.2, 11), (13, 22), (25, 61)]
    )
    def test_it_loses_text_though_the_recogniser_is_perfect(
        self, length_s: float, percent: int
    ) -> None:
        """The figures that are known of it, at two and a half words a second."""
        oracle = Oracle(length_s, round(length_s * 2.5 - 0.3))
        policy = SeedPolicy(oracle.read)

        *_, final = listen(policy, [(oracle.length, True)])

        assert final.final
        assert round(100 * error_rate(final.text, oracle)) == percent

    def test_its_windows_are_those_that_are_known(self) -> None:
        """5 s, then 7.5 s, every 2.5 s; nothing before."""
        oracle = Oracle(13, 32)
        policy = SeedPolicy(oracle.read)

        messages = listen(policy, [(oracle.length, True)])

        ends = [round(one.position / SAMPLE_RATE, 1) for one in messages]
        assert ends == [5.0, 7.5, 10.0, 12.5, 13.0]

    def test_half_a_second_of_silence_ends_an_utterance(self) -> None:
        """And the next one begins anew."""
        oracle = Oracle(3, 8)
        silence = round(0.6 * SAMPLE_RATE)
        policy = SeedPolicy(oracle.read)

        messages = listen(
            policy, [(oracle.length, True), (silence, False), (oracle.length, True)]
        )

        assert [(one.utterance, one.final) for one in messages] == [
            (1, True),
            (2, True),
        ]


class TestWhisperStreaming:
    @pytest.mark.parametrize("length_s", [3.7, 13, 60])
    def test_a_perfect_recogniser_loses_little(self, length_s: float) -> None:
        """Only words that a trim has cut; none within the first 15 s."""
        oracle = Oracle(length_s, round(length_s * 2.5))
        policy = WhisperStreamingPolicy(oracle.read)

        *_, final = listen(policy, [(oracle.length, True)])

        assert final.final
        assert error_rate(final.text, oracle) <= (0.0 if length_s < 15 else 0.05)

    def test_a_word_is_committed_by_the_second_decode_that_has_it(self) -> None:
        """A second later than it is seen, and never taken back."""
        oracle = Oracle(8, 20)
        policy = WhisperStreamingPolicy(oracle.read)

        messages = listen(policy, [(oracle.length, True)])

        ends = [round(one.position / SAMPLE_RATE) for one in messages]
        assert ends == [1, 2, 3, 4, 5, 6, 7, 8]
        committed = [one.committed for one in messages]
        for before, seen, after in zip(
            committed, messages, committed[1:], strict=False
        ):
            assert after.startswith(before)
            assert seen.text.startswith(after[: len(after) // 2])

    def test_its_buffer_is_bounded(self) -> None:
        """To 15 s and what comes until the next decode."""
        oracle = Oracle(60, 150)
        policy = WhisperStreamingPolicy(oracle.read)
        longest = 0
        asked = policy.requests

        def watched() -> list:  # type: ignore[type-arg]
            nonlocal longest
            found = asked()
            longest = max([longest, *(len(one.window) for one in found)])
            return found

        policy.requests = watched  # type: ignore[method-assign]
        listen(policy, [(oracle.length, True)])

        assert 14 * SAMPLE_RATE < longest <= 17 * SAMPLE_RATE
