"""Browsers, recordings and servers for the tests of the page."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
from av import AudioFrame, AudioResampler
from playwright.sync_api import Browser, Playwright, sync_playwright

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer
from tests.support.serving import ServerProcess
from tests.web.visit import Visit, visiting
from tools.browser import BrowserMissing, chromium, launched

SAID = "three one four one five nine two six".split()
SAID_LATER = "seven eight zero".split()


# Of sound cards, so that the browser need not convert what its microphone hears.
DEVICE_RATE = 48_000


def say(words: list[str], *, tail_s: float) -> Samples:
    """Let one person say digits that the model hears right at any level and phase."""
    recordings = composer.load(speakers=("george",), indexes=(0,))
    by_word = {recording.word: recording for recording in recordings}
    pauses_s = [0.2] * (len(words) - 1)
    spoken = [by_word[word] for word in words]
    return composer.compose(spoken, pauses_s, rng=Random(0), tail_s=tail_s).samples


def write(path: Path, samples: Samples) -> None:
    """Write a recording at a device's rate."""
    frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = AudioResampler("flt", "mono", DEVICE_RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    soundfile.write(
        path, np.concatenate([f.to_ndarray()[0] for f in frames]), DEVICE_RATE
    )


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight digits."""
    path = tmp_path_factory.mktemp("speech") / "digits.wav"
    write(path, say(SAID, tail_s=0.5))
    return path


@pytest.fixture(scope="package")
def two_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight digits, and three more some seconds later."""
    path = tmp_path_factory.mktemp("speech") / "more.wav"
    write(path, np.concatenate([say(SAID, tail_s=3.0), say(SAID_LATER, tail_s=0.5)]))
    return path


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Drives browsers; while it does, this thread can run no other event loop."""
    try:
        chromium()
    except BrowserMissing as missing:
        pytest.skip(f"The page is not tested. {missing}")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright, clip: Path) -> Iterator[Browser]:
    """One whose microphone hears the eight digits."""
    with launched(playwright, speech=clip) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, demo_server: ServerProcess) -> Iterator[Visit]:
    """A visit to the real server with the bundled model."""
    with visiting(browser, demo_server.url) as visit:
        yield visit
