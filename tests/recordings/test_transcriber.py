"""Recordings between bytes and windows: what is listened to, and what is cut."""

import asyncio
import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from audio.decoder import DecodeLimits
from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import AudioChunker, Window
from recordings.transcriber import FileTranscriber
from tests.support.fakes import ScriptedModel
from tests.support.scheduling import started
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
    file = io.BytesIO()
    soundfile.write(
        file,
        np.zeros(round(seconds * SAMPLE_RATE)),
        SAMPLE_RATE,
        "PCM_16",
        format="WAV",
    )
    model = ScriptedModel()
    scheduler = started(model, max_batch=1)
    with ThreadPoolExecutor(1) as workers:
        files = FileTranscriber(
            scheduler,
            workers=workers,
            limits=LIMITS,
            listen=lambda: ear,
            max_in_flight=2,
        )
        text = asyncio.run(files.transcribe(file)).text
    scheduler.close(timeout_s=30)
    return text, [n for batch in model.batches for n in batch]


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
