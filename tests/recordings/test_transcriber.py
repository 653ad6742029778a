"""Recordings between bytes and windows: what is listened to, and what is cut."""

import asyncio
import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from audio.decoder import Channels, DecodeLimits, OneChannel
from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import AudioChunker, Window
from recordings.transcriber import FileTranscriber
from tests.support.fakes import ScriptedModel
from tests.support.scheduling import started
from text.transcript import Transcript
from vad.spans import FRAME_SAMPLES

LIMITS = DecodeLimits(
    max_seconds=600, max_channels=2, min_sample_rate=8_000, max_sample_rate=48_000
)

# Where there is speech, in seconds.
Spans = tuple[tuple[float, float], ...]


class Ear:
    """Hears speech where it is told, and counts what it was given."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._rest = 0
        self.n_heard = 0
        self.ended = False

    def push_audio(self, samples: Samples) -> list[float]:
        first = (self.n_heard - self._rest) // FRAME_SAMPLES
        self.n_heard += len(samples)
        n, self._rest = divmod(self._rest + len(samples), FRAME_SAMPLES)
        return [self._probability(first + k) for k in range(n)]

    def finish(self) -> list[float]:
        self.ended = True
        return [0.0] if self._rest else []

    def _probability(self, frame: int) -> float:
        at_s = frame * FRAME_SAMPLES / SAMPLE_RATE
        return 0.9 if any(start <= at_s < end for start, end in self._spans) else 0.0


def transcribed(seconds: float, ear: Ear) -> tuple[str, list[int]]:
    """Return the text of a recording, and the lengths of its windows."""
    transcript, windows = heard(seconds, [ear], Channels.MIXED)
    return transcript.text, windows


def heard(
    seconds: float, ears: list[Ear], channels: Channels
) -> tuple[Transcript, list[int]]:
    """Transcribe a recording with a channel for each ear; return its windows, too."""
    file = io.BytesIO()
    silence = np.zeros((round(seconds * SAMPLE_RATE), len(ears)))
    soundfile.write(file, silence, SAMPLE_RATE, "PCM_16", format="WAV")
    model = ScriptedModel()
    scheduler = started(model, max_batch=1)
    ahead = iter(ears)
    try:
        with ThreadPoolExecutor(1) as workers:
            files = FileTranscriber(
                scheduler,
                workers=workers,
                limits=LIMITS,
                listen=lambda: next(ahead),
                max_in_flight=2,
            )
            transcript = asyncio.run(files.transcribe(file, channels=channels))
    finally:
        scheduler.close(timeout_s=30)
    return transcript, [n for batch in model.batches for n in batch]


def cut_as_it_comes(seconds: float, spans: Spans) -> list[int]:
    """Return the lengths of the windows if every frame is listened to at once."""
    ear, chunker = Ear(spans), AudioChunker(vad_enabled=True)
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    windows: list[Window] = []
    for k in range(math.ceil(seconds)):
        block = samples[k * SAMPLE_RATE : (k + 1) * SAMPLE_RATE]
        windows += chunker.push_audio(block, ear.push_audio(block))
    windows += chunker.finish(ear.finish())
    return [len(window.samples) for window in windows]


class TestListening:
    @pytest.mark.parametrize("seconds", [5.0, 40.0])
    def test_one_window_is_listened_to_until_somebody_speaks(
        self, seconds: float
    ) -> None:
        """A client waits for it, and more speech changes nothing."""
        ear = Ear(((0.5, 1.5), (3.0, seconds)))

        text, windows = transcribed(seconds, ear)

        assert text == "hello"
        assert windows == [seconds * SAMPLE_RATE]
        assert ear.n_heard == SAMPLE_RATE
        assert not ear.ended

    def test_one_window_of_silence_is_listened_to_whole(self) -> None:
        """And the model never hears it."""
        ear = Ear(())

        text, windows = transcribed(20.5, ear)

        assert text == ""
        assert windows == []
        assert ear.n_heard == 20.5 * SAMPLE_RATE
        assert ear.ended

    @pytest.mark.parametrize("seconds", [39.99, 40.0, 40.01, 100.3])
    @pytest.mark.parametrize(
        "spans",
        [
            ((0.0, 200.0),),
            ((0.3, 12.0), (15.0, 31.0), (31.7, 38.0), (47.0, 99.0)),
            ((39.0, 40.0),),
            ((60.0, 61.0),),
        ],
    )
    def test_windows_are_those_of_one_who_listens_to_everything(
        self, seconds: float, spans: Spans
    ) -> None:
        """However long the recording turns out to be."""
        _, windows = transcribed(seconds, Ear(spans))

        assert windows == cut_as_it_comes(seconds, spans)


class TestChannels:
    """Each channel is cut as a recording of its own, in one pass of the queue."""

    def test_a_silent_channel_costs_the_model_nothing(self) -> None:
        """Its windows are none; the other's are those of a recording of it alone."""
        spans = ((0.3, 12.0), (15.0, 31.0), (47.0, 99.0))

        transcript, windows = heard(100.3, [Ear(()), Ear(spans)], Channels.SEPARATE)

        assert windows == cut_as_it_comes(100.3, spans)
        assert transcript.n_channels == 2
        assert {segment.channel for segment in transcript.segments} == {1}

    def test_each_has_the_windows_that_it_has_alone(self) -> None:
        """Also where both speak at the same time."""
        left, right = ((0.3, 12.0), (47.0, 99.0)), ((5.0, 31.0), (60.0, 61.0))

        transcript, windows = heard(100.3, [Ear(left), Ear(right)], Channels.SEPARATE)

        alone = [cut_as_it_comes(100.3, spans) for spans in (left, right)]
        assert sorted(windows) == sorted(alone[0] + alone[1])
        starts = [segment.start for segment in transcript.segments]
        assert starts == sorted(starts)
        for channel, spans in enumerate((left, right)):
            single, _ = heard(100.3, [Ear(spans)], Channels.EACH)
            assert [
                (segment.text, segment.start, segment.end)
                for segment in transcript.of_channel(channel).segments
            ] == [(each.text, each.start, each.end) for each in single.segments]

    def test_a_short_recording_is_listened_to_on_each(self) -> None:
        """Until somebody speaks on it, or to its end."""
        ears = [Ear(((0.5, 1.5),)), Ear(())]

        transcript, windows = heard(5.0, ears, Channels.SEPARATE)

        assert windows == [5 * SAMPLE_RATE]
        assert [ear.n_heard for ear in ears] == [SAMPLE_RATE, 5 * SAMPLE_RATE]
        assert transcript.n_samples == 5 * SAMPLE_RATE
        assert transcript.n_heard == 10 * SAMPLE_RATE

    def test_one_channel_is_refused_or_taken(self) -> None:
        """As the caller wants it."""
        with pytest.raises(OneChannel, match="voices are not told apart"):
            heard(1.0, [Ear(((0.0, 1.0),))], Channels.SEPARATE)
        transcript, _ = heard(1.0, [Ear(((0.0, 1.0),))], Channels.EACH)

        assert [segment.channel for segment in transcript.segments] == [0]
