"""Raw bytes of a live stream: what they mean, and that no cut matters."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.encoding import Encoding
from audio.pcm import PcmDecoder
from audio.samples import SAMPLE_RATE, Samples

with warnings.catch_warnings():
    # Deprecated for want of maintenance; of all oracles it is the independent one.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)

encodings = st.sampled_from(Encoding)
rates = st.one_of(st.sampled_from(RATES), st.integers(8_000, 48_000))


def decode(data: bytes, encoding: Encoding, rate: int, *cuts: int) -> Samples:
    decoder = PcmDecoder(encoding, rate)
    edges = [0, *sorted(cuts), len(data)]
    parts = [decoder.push_bytes(data[start:end]) for start, end in pairwise(edges)]
    return np.concatenate([*parts, decoder.finish()])


def sine(frequency: float, rate: int, seconds: float = 1.0) -> Samples:
    times = np.arange(round(seconds * rate)) / rate
    tone: Samples = 0.5 * np.sin(2 * np.pi * frequency * times).astype(np.float32)
    return tone


class TestEncodings:
    def test_16_bit_integers_have_a_full_scale_of_one(self) -> None:
        """Whatever their values are, none is taken for another encoding."""
        data = np.array([0, 1, -5, 16_384, 32_767, -32_768], "<i2").tobytes()

        samples = decode(data, Encoding.S16LE, SAMPLE_RATE)

        assert samples.dtype == np.float32
        assert samples.tolist() == [
            0, 1 / 32_768, -5 / 32_768, 0.5, 32_767 / 32_768, -1,
        ]  # fmt: skip

    def test_floats_are_clipped_and_what_is_no_number_is_silence(self) -> None:
        """One of them would spoil everything behind it otherwise."""
        data = np.array(
            [0.25, np.nan, np.inf, -np.inf, 1e30, -1.5, 1e-40], "<f4"
        ).tobytes()

        samples = decode(data, Encoding.F32LE, SAMPLE_RATE)

        assert samples.tolist() == pytest.approx([0.25, 0, 1, -1, 1, -1, 0])
        assert samples.flags.writeable

    def test_they_are_silence_for_the_resampler_too(self) -> None:
        """At most its filter's length around them is touched."""
        clean = sine(440, 48_000)
        spoilt = clean.copy()
        spoilt[100] = np.nan

        ours = decode(spoilt.tobytes(), Encoding.F32LE, 48_000)

        expected = decode(clean.tobytes(), Encoding.F32LE, 48_000)
        assert np.isfinite(ours).all()
        assert np.array_equal(ours[200:], expected[200:])

    @pytest.mark.parametrize(
        ("encoding", "expand"),
        [
            (Encoding.MULAW, audioop.ulaw2lin),
            (Encoding.ALAW, audioop.alaw2lin),
        ],
    )
    def test_every_code_of_the_telephone_means_what_the_standard_says(
        self, encoding: Encoding, expand: object
    ) -> None:
        """All 256 of them, against another implementation."""
        codes = bytes(range(256))

        samples = decode(codes, encoding, SAMPLE_RATE)

        assert callable(expand)
        integers = np.frombuffer(expand(codes, 2), "<i2")
        assert (samples * 32_768).tolist() == integers.tolist()


class TestRates:
    @pytest.mark.parametrize("rate", RATES)
    def test_a_tone_keeps_its_frequency_and_level(self, rate: int) -> None:
        """Compared with the same tone sampled at 16 kHz."""
        samples = decode(sine(1_000, rate).tobytes(), Encoding.F32LE, rate)

        assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2)
        n = len(samples) - 400
        expected = sine(1_000, SAMPLE_RATE)[:n]
        assert np.abs(samples[200:n] - expected[200:]).max() < 2e-3

    def test_what_16_khz_cannot_hold_is_gone(self) -> None:
        """10 kHz would come back as 6 kHz."""
        samples = decode(sine(10_000, 48_000).tobytes(), Encoding.F32LE, 48_000)

        assert np.abs(samples[400:-400]).max() < 1e-3

    @pytest.mark.parametrize("rate", [7_999, 48_001, 0, -16_000])
    def test_a_rate_that_is_not_accepted_is_named(self, rate: int) -> None:
        """With those that are."""
        with pytest.raises(ValueError, match=f"is {rate}; it must be 8000 to 48000"):
            PcmDecoder(Encoding.S16LE, rate)

    @pytest.mark.parametrize("rate", RATES)
    def test_little_is_held_back(self, rate: int) -> None:
        """Words are not to wait for the resampler."""
        decoder = PcmDecoder(Encoding.F32LE, rate)

        n_early = len(decoder.push_bytes(sine(440, rate).tobytes()))

        assert n_early >= SAMPLE_RATE - 0.004 * SAMPLE_RATE - 1


class TestCuts:
    @given(
        data=st.binary(min_size=1, max_size=64),
        repeats=st.integers(1, 40),
        encoding=encodings,
        rate=rates,
        cuts=st.data(),
    )
    def test_any_cut_gives_the_same_samples(
        self,
        data: bytes,
        repeats: int,
        encoding: Encoding,
        rate: int,
        cuts: st.DataObject,
    ) -> None:
        """Odd bytes, empty pieces and all, to the last bit."""
        whole = data * repeats
        places = cuts.draw(st.lists(st.integers(0, len(whole)), max_size=20))

        in_parts = decode(whole, encoding, rate, *places)

        assert np.array_equal(in_parts, decode(whole, encoding, rate))
        assert not len(in_parts) or np.abs(in_parts).max() <= 1

    def test_byte_by_byte_is_a_cut_as_well(self) -> None:
        """The smallest frames a client can send."""
        data = (sine(440, 8_000, 0.05) * 32_767).astype("<i2").tobytes()

        in_bytes = decode(data, Encoding.S16LE, 8_000, *range(1, len(data)))

        assert np.array_equal(in_bytes, decode(data, Encoding.S16LE, 8_000))

    def test_half_a_sample_at_the_end_is_dropped(self) -> None:
        """It says nothing."""
        assert decode(b"\x00\x40\x01", Encoding.S16LE, SAMPLE_RATE).tolist() == [0.5]
