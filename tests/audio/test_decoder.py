"""What audio_decoder promises about uploads, good, odd and hostile."""

import contextlib
import gc
import io
import re
import struct
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pytest
import soundfile

from audio import decoder
from audio.decoder import (
    BLOCK_SAMPLES,
    AudioTooLong,
    Channels,
    ChannelsChanged,
    CorruptAudio,
    DecodeLimits,
    EmptyAudio,
    NoAudioStream,
    OneChannel,
    Origin,
    TooManyChannels,
    UnsupportedAudio,
    UnsupportedSampleRate,
    decode_stream,
)
from audio.samples import SAMPLE_RATE, Samples
from audio.timeline import CODEC_PADDING_S, ORIGIN_STEP
from benchmarks.corpus.encoders import Signal, encode
from tests.support.audio_files import (
    alias_to,
    click,
    decode,
    find_boxes,
    join_boxes,
    mutate,
    noise,
    parse_boxes,
    pcm16,
    replace_boxes,
    tone,
    video,
    wav,
)

LIMITS = DecodeLimits(
    max_seconds=3600, max_channels=8, min_sample_rate=4_000, max_sample_rate=192_000
)
OWN_ERRORS = (
    UnsupportedAudio,
    EmptyAudio,
    CorruptAudio,
    NoAudioStream,
    AudioTooLong,
    TooManyChannels,
    UnsupportedSampleRate,
)

# Every container with every codec that people put in it: (container, codec, rate).
FILES = (
    ("wav", "pcm_s16le", 16_000),
    ("wav", "pcm_mulaw", 8_000),
    ("wav", "adpcm_ms", 16_000),
    ("w64", "pcm_s16le", 16_000),
    ("flac", "flac", 16_000),
    ("mp3", "libmp3lame", 44_100),
    ("adts", "aac", 16_000),
    ("ipod", "aac", 44_100),
    ("ipod", "alac", 44_100),
    ("mov", "pcm_s16le", 48_000),
    ("mp4", "libopus", 48_000),
    ("ogg", "libopus", 48_000),
    ("ogg", "flac", 44_100),
    ("webm", "libopus", 48_000),
    ("matroska", "aac", 44_100),
    ("matroska", "libmp3lame", 44_100),
    ("aiff", "pcm_s16be", 44_100),
    ("caf", "pcm_s16le", 44_100),
    ("amr", "amr_nb", 8_000),
    ("avi", "pcm_s16le", 44_100),
    ("avi", "libmp3lame", 44_100),
    ("avi", "ac3", 48_000),
    ("flv", "libmp3lame", 44_100),
    ("flv", "aac", 44_100),
    ("flv", "nellymoser", 11_025),
    ("flv", "adpcm_swf", 22_050),
    ("mpegts", "aac", 48_000),
    ("mpegts", "mp2", 48_000),
    ("mpegts", "ac3", 48_000),
    ("asf", "wmav1", 44_100),
    ("asf", "wmav2", 44_100),
    ("asf", "libmp3lame", 44_100),
    ("nut", "pcm_s16le", 48_000),
    ("nut", "flac", 48_000),
    ("nut", "libopus", 48_000),
    ("ac3", "ac3", 32_000),
    ("ac3", "ac3", 44_100),
    ("ac3", "ac3", 48_000),
    ("eac3", "eac3", 48_000),
    ("au", "pcm_s16be", 44_100),
    ("au", "pcm_mulaw", 8_000),
)
# Those whose timestamps survive in the file.
CLOCKED = (
    ("webm", "libopus", 48_000),
    ("matroska", "pcm_s16le", 48_000),
    ("mp4", "aac", 48_000),
    ("ogg", "libopus", 48_000),
    ("flv", "pcm_s16le", 44_100),
    ("asf", "pcm_s16le", 48_000),
    ("nut", "flac", 48_000),
)


REFUSALS = (
    *(UnsupportedAudio, EmptyAudio, CorruptAudio, NoAudioStream, AudioTooLong),
    *(TooManyChannels, UnsupportedSampleRate),
)


def small_file(container: str, codec: str, rate: int, *, seconds: float = 0.5) -> bytes:
    return encode(container, codec, rate, (0.0, tone(rate, seconds=seconds)))


def vorbis(signal: Signal, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, signal, rate, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def level_dbfs(samples: Samples) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(20 * np.log10(np.sqrt(2 * np.mean(middle**2)) + 1e-12))


def peak_at(samples: Samples) -> int:
    return int(np.argmax(np.abs(samples)))


class TestFormats:
    """Every accepted container and codec gives the sound that went in."""

    @pytest.mark.parametrize(("container", "codec", "rate"), FILES)
    def test_a_tone_comes_out_at_its_level(
        self, container: str, codec: str, rate: int
    ) -> None:
        """A tone is found at 440 Hz and -6 dBFS, whatever carried it."""
        samples = decode(small_file(container, codec, rate), limits=LIMITS)

        spectrum = np.abs(np.fft.rfft(samples))
        assert samples.dtype == np.float32
        assert abs(len(samples) - SAMPLE_RATE / 2) < SAMPLE_RATE * 0.13  # codec padding
        assert np.argmax(spectrum) * SAMPLE_RATE / len(samples) == pytest.approx(440, 2)
        assert level_dbfs(samples) == pytest.approx(-6, abs=1.5)

    def test_vorbis(self) -> None:
        """Ogg Vorbis as libsndfile writes it is decoded."""
        samples = decode(vorbis(tone(44_100), 44_100), limits=LIMITS)

        assert level_dbfs(samples) == pytest.approx(-6, abs=0.5)

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT"])
    @pytest.mark.parametrize("layout", ["WAV", "WAVEX", "RF64", "W64"])
    def test_wav_sample_formats(self, subtype: str, layout: str) -> None:
        """WAV of any sample format and header is what soundfile reads from it."""
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(16_000), 16_000, format=layout, subtype=subtype)
        expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")

        samples = decode(buffer.getvalue(), limits=LIMITS)

        np.testing.assert_array_equal(samples, expected)

    @pytest.mark.parametrize("subtype", ["ALAW", "ULAW"])
    def test_telephone_wav(self, subtype: str) -> None:
        """A-law and mu-law at 8 kHz are expanded."""
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(8_000), 8_000, format="WAV", subtype=subtype)

        samples = decode(buffer.getvalue(), limits=LIMITS)

        assert len(samples) == SAMPLE_RATE
        assert level_dbfs(samples) == pytest.approx(-6, abs=0.3)

    @pytest.mark.parametrize("container", ["WAV", "FLAC"])
    def test_16_bit_at_16_khz_is_bit_exact(self, container: str) -> None:
        """Each int16 value becomes that value divided by 32768, and nothing else."""
        values = np.random.default_rng(1).integers(-32768, 32768, 40_000, np.int16)
        values[:2] = -32768, 32767
        buffer = io.BytesIO()
        soundfile.write(buffer, values, 16_000, format=container, subtype="PCM_16")

        samples = decode(buffer.getvalue(), limits=LIMITS)

        np.testing.assert_array_equal(samples, values.astype(np.float32) / 32768)

    @pytest.mark.parametrize("stated", [0, 0xFFFFFFFF, 10**9])
    def test_wav_of_unknown_length(self, stated: int) -> None:
        """A WAV piped out of ffmpeg or sox, sizes never filled in, is read whole."""
        file = wav(pcm16(tone(16_000)), data_bytes=stated)

        assert len(decode(file, limits=LIMITS)) == SAMPLE_RATE

    def test_mp4_with_its_index_first_or_last(self) -> None:
        """Both places of the MP4 index work, and give the same samples."""
        last = parse_boxes(small_file("mp4", "aac", 44_100))
        assert [kind for kind, _ in last][-2:] == [b"mdat", b"moov"]
        moved = len(join_boxes(last[-1:]))
        (table,) = find_boxes(last, b"stco")
        offsets = struct.unpack(f">{len(table) // 4}I", table)
        table = struct.pack(
            f">{len(offsets)}I", *offsets[:2], *(o + moved for o in offsets[2:])
        )
        first = replace_boxes([last[0], last[-1], *last[1:-1]], {b"stco": table})

        np.testing.assert_array_equal(
            decode(join_boxes(first), limits=LIMITS),
            decode(join_boxes(last), limits=LIMITS),
        )

    def test_fragmented_mp4(self) -> None:
        """MP4 as browsers record it, in fragments, is decoded."""
        movflags = {"movflags": "frag_keyframe+empty_moov"}
        file = encode("mp4", "aac", 48_000, (0.0, tone(48_000)), options=movflags)

        assert level_dbfs(decode(file, limits=LIMITS)) == pytest.approx(-6, abs=0.5)

    @pytest.mark.parametrize(
        ("container", "codec"),
        [("mp3", "libmp3lame"), ("adts", "aac"), ("flac", "flac")],
    )
    def test_a_large_id3_tag_is_skipped(self, container: str, codec: str) -> None:
        """A tag with a megabyte of cover art in front changes nothing."""
        tag = b"ID3\x04\0\0" + bytes([0, 64, 0, 0]) + bytes(64 << 14)
        file = small_file(container, codec, 44_100)

        np.testing.assert_array_equal(
            decode(tag + file, limits=LIMITS), decode(file, limits=LIMITS)
        )

    @pytest.mark.parametrize(
        ("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac")]
    )
    def test_a_stream_cut_out_of_a_longer_one(self, container: str, codec: str) -> None:
        """MPEG audio that begins amid a frame is found and decoded."""
        file = encode(container, codec, 44_100, (0.0, tone(44_100)))

        samples = decode(file[len(file) // 4 :], limits=LIMITS)

        assert len(samples) > SAMPLE_RATE // 2
        assert level_dbfs(samples) == pytest.approx(-6, abs=1)


class TestResampling:
    """Any rate becomes 16 kHz without moving, dulling or folding the sound."""

    @pytest.mark.parametrize(
        "rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]
    )
    def test_an_impulse_stays_in_place(self, rate: int) -> None:
        """WAV at any rate keeps its length and its times to the sample."""
        samples = decode(wav(pcm16(click(2 * rate, rate)), rate=rate), limits=LIMITS)

        assert abs(len(samples) - 2 * SAMPLE_RATE) <= 1
        assert abs(peak_at(samples) - SAMPLE_RATE) <= 1

    @pytest.mark.parametrize(
        ("container", "codec", "rate"),
        [
            ("mp3", "libmp3lame", 8_000),
            ("mp3", "libmp3lame", 16_000),
            ("mp3", "libmp3lame", 44_100),
            ("mp3", "libmp3lame", 48_000),
            ("ipod", "aac", 16_000),
            ("ipod", "aac", 44_100),
            ("ogg", "libopus", 48_000),
            ("ogg", "libopus", 16_000),
            ("webm", "libopus", 48_000),
            ("mp4", "libopus", 48_000),
            ("matroska", "aac", 44_100),
            ("matroska", "libmp3lame", 44_100),
            ("flac", "flac", 44_100),
            ("ogg", "flac", 44_100),
        ],
    )
    def test_encoder_delay_is_taken_off(
        self, container: str, codec: str, rate: int
    ) -> None:
        """What the encoder put in front is gone, so an impulse stays in place."""
        file = encode(container, codec, rate, (0.0, click(2 * rate, rate)))

        samples = decode(file, limits=LIMITS)

        assert abs(peak_at(samples) - SAMPLE_RATE) <= 2
        padding = 1024 * SAMPLE_RATE / rate  # AAC in MP4 states no end
        assert -2 <= len(samples) - 2 * SAMPLE_RATE <= padding

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
    def test_vorbis_stays_in_place(self, rate: int) -> None:
        """Vorbis keeps its times too."""
        samples = decode(vorbis(click(2 * rate, rate), rate), limits=LIMITS)

        assert abs(peak_at(samples) - SAMPLE_RATE) <= 2

    @pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
    def test_what_16_khz_cannot_hold_is_removed(self, rate: int) -> None:
        """Speech passes unchanged; a tone above 8.5 kHz does not fold back."""
        kept = wav(pcm16(tone(rate, hz=7_000)), rate=rate)
        gone = wav(pcm16(tone(rate, hz=9_000)), rate=rate)

        assert level_dbfs(decode(kept, limits=LIMITS)) == pytest.approx(-6, abs=0.1)
        assert level_dbfs(decode(gone, limits=LIMITS)) < -80

    def test_a_change_of_rate_amid_the_file(self) -> None:
        """ADTS that goes from 16 to 48 kHz mono keeps time in both halves."""
        first = encode("adts", "aac", 16_000, (0.0, tone(16_000)))
        second = encode("adts", "aac", 48_000, (0.0, tone(48_000)))

        samples = decode(first + second, limits=LIMITS)

        expected = len(decode(first, limits=LIMITS)) + len(
            decode(second, limits=LIMITS)
        )
        assert abs(len(samples) - expected) <= SAMPLE_RATE * 0.05
        assert level_dbfs(samples[:SAMPLE_RATE]) == pytest.approx(-6, abs=0.5)
        assert level_dbfs(samples[-SAMPLE_RATE:]) == pytest.approx(-6, abs=0.5)


class TestMixing:
    """Channels are averaged, whatever they are called."""

    def test_equal_channels_keep_their_level(self) -> None:
        """Stereo with the same on both sides equals mono."""
        mono = tone(44_100)

        one = decode(wav(pcm16(mono), rate=44_100), limits=LIMITS)
        two = decode(
            wav(pcm16(np.stack([mono, mono])), rate=44_100, n_channels=2), limits=LIMITS
        )

        np.testing.assert_allclose(one, two, atol=1e-6)

    def test_loud_stereo_does_not_clip(self) -> None:
        """Two full-scale sides give full scale."""
        loud = np.ones((2, 16_000))

        samples = decode(wav(pcm16(loud), n_channels=2), limits=LIMITS)

        assert samples == pytest.approx(np.full(16_000, 32767 / 32768), abs=1e-6)

    def test_opposite_channels_cancel_without_an_error(self) -> None:
        """Out-of-phase stereo is silence, not a failure."""
        one = tone(16_000)

        samples = decode(wav(pcm16(np.stack([one, -one])), n_channels=2), limits=LIMITS)

        assert len(samples) == SAMPLE_RATE
        assert np.abs(samples).max() < 1e-4

    @pytest.mark.parametrize("n_channels", range(1, 17))
    def test_one_channel_among_many_is_heard(self, n_channels: int) -> None:
        """Any number of channels within the limit is mixed, named or not."""
        signal = np.zeros((n_channels, 16_000))
        signal[-1] = tone(16_000)
        limits = DecodeLimits(10, 16, 8_000, 48_000)

        samples = decode(wav(pcm16(signal), n_channels=n_channels), limits=limits)

        np.testing.assert_allclose(
            samples, np.mean(signal, axis=0), atol=1 / n_channels / 2**14
        )

    def test_the_subwoofer_is_left_out(self) -> None:
        """5.1 is the mean of its five full channels."""
        signal = np.zeros((6, 16_000))
        signal[2], signal[3] = tone(16_000), 0.9  # centre, LFE

        samples = decode(
            wav(pcm16(signal), n_channels=6, channel_mask=0x3F), limits=LIMITS
        )

        np.testing.assert_allclose(samples, signal[2] / 5, atol=1e-4)

    def test_surround_from_a_codec(self) -> None:
        """5.1 AAC in MP4 is decoded and mixed."""
        file = encode("mp4", "aac", 48_000, (0.0, tone(48_000)), layout="5.1")

        assert level_dbfs(decode(file, limits=LIMITS)) == pytest.approx(-6, abs=1)

    @pytest.mark.parametrize("mask", [0x1, 0x8, 0x40])
    def test_a_lone_channel_is_mono_whatever_its_name(self, mask: int) -> None:
        """One channel called left, subwoofer or back is not turned down or off."""
        signal = tone(16_000)

        samples = decode(wav(pcm16(signal), channel_mask=mask), limits=LIMITS)

        np.testing.assert_allclose(samples, signal, atol=1e-4)

    def test_samples_stay_within_one(self) -> None:
        """A float file with peaks of 4, infinities and NaN is clipped and cleaned."""
        values = np.full(16_000, 4.0, "<f4")
        values[10], values[20], values[30] = np.nan, np.inf, -np.inf

        samples = decode(wav(values.tobytes(), bits=32, form=3), limits=LIMITS)

        assert samples[0] == 1
        assert samples[[10, 20, 30]].tolist() == [0, 1, -1]
        assert np.abs(samples).max() <= 1

    def test_channels_too_large_to_add(self) -> None:
        """A stereo float file of the largest numbers there are is clipped as well."""
        values = np.full(32_000, 3e38, "<f4")
        values[:2] = np.inf, -np.inf

        samples = decode(
            wav(values.tobytes(), bits=32, form=3, n_channels=2), limits=LIMITS
        )

        assert samples[:2].tolist() == [0, 1]


class TestSeparateChannels:
    """Channels that are kept apart are what files of each would be, bit by bit."""

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
    def test_each_is_a_row(self, rate: int) -> None:
        """At every rate, however many there are; the subwoofer is one, too."""
        signal = np.stack([noise(3 * rate + 77, seed=seed) for seed in range(6)])
        file = wav(pcm16(signal), rate=rate, n_channels=6, channel_mask=0x3F)

        rows = separated(file)

        for row, one in zip(rows, signal, strict=True):
            alone = decode(wav(pcm16(one), rate=rate), limits=LIMITS)
            np.testing.assert_array_equal(row, alone)

    @pytest.mark.parametrize(("container", "codec", "rate"), CLOCKED)
    def test_a_gap_is_silent_on_each(
        self, container: str, codec: str, rate: int
    ) -> None:
        """Time is the file's own for all of them."""
        second = click(rate, rate // 2)
        parts = ((0.0, second), (3.0, second))
        file = encode(container, codec, rate, *parts, layout="stereo")

        for row in separated(file):
            found = np.flatnonzero(np.abs(row) > 0.15) / SAMPLE_RATE
            assert found == pytest.approx([0.5, 3.5], abs=0.002)

    def test_one_channel_is_refused_unless_it_is_enough(self) -> None:
        """Before anything else happens."""
        file = wav(pcm16(tone(16_000)))

        with pytest.raises(OneChannel, match="voices are not told apart"):
            separated(file)
        assert separated(file, Channels.EACH).shape == (1, 16_000)

    def test_their_number_may_not_change(self) -> None:
        """As it does where two broadcasts are joined."""
        first, second = (
            encode("mp3", "libmp3lame", 44_100, (0.0, tone(44_100)), layout=layout)
            for layout in ("stereo", "mono")
        )

        with pytest.raises(ChannelsChanged, match="2 channels and goes on with 1"):
            separated(first + second)
        assert len(decode(first + second, limits=LIMITS)) > SAMPLE_RATE


def separated(file: bytes, channels: Channels = Channels.SEPARATE) -> Samples:
    """Decode a file's channels as rows."""
    blocks = decode_stream(io.BytesIO(file), limits=LIMITS, channels=channels)
    rows: Samples = np.concatenate([block for block in blocks if block.size], axis=1)
    return rows


class TestFileTime:
    """Sample position is the file's own time."""

    @pytest.mark.parametrize(("container", "codec", "rate"), CLOCKED)
    def test_a_gap_becomes_silence(self, container: str, codec: str, rate: int) -> None:
        """What was recorded at 3.5 s is at 3.5 s, though nothing lies at 1 to 3 s."""
        second = click(rate, rate // 2)
        file = encode(container, codec, rate, (0.0, second), (3.0, second))

        samples = decode(file, limits=LIMITS)

        found = np.flatnonzero(np.abs(samples) > 0.15) / SAMPLE_RATE
        assert found == pytest.approx([0.5, 3.5], abs=0.002)
        assert np.abs(samples[2 * SAMPLE_RATE : 3 * SAMPLE_RATE - 400]).max() < 1e-3

    @pytest.mark.parametrize(("container", "codec", "rate"), CLOCKED)
    def test_a_late_beginning(self, container: str, codec: str, rate: int) -> None:
        """Audio whose first timestamp is 2 s begins at 2 s."""
        file = encode(container, codec, rate, (2.0, click(rate, rate // 2)))

        samples = decode(file, limits=LIMITS)

        assert peak_at(samples) / SAMPLE_RATE == pytest.approx(2.5, abs=0.002)

    @pytest.mark.parametrize(("container", "codec", "rate"), CLOCKED)
    def test_a_late_beginning_can_be_noted(
        self, container: str, codec: str, rate: int
    ) -> None:
        """Five hours of nothing are not made, and not counted; gaps still are."""
        second = click(rate, rate // 2)
        file = encode(container, codec, rate, (18_000.3, second), (18_003.3, second))
        origin = Origin()

        blocks = list(decode_stream(io.BytesIO(file), limits=LIMITS, origin=origin))

        samples = np.concatenate(blocks)
        found = (origin.position + np.flatnonzero(np.abs(samples) > 0.15)) / SAMPLE_RATE
        assert found == pytest.approx([18_000.8, 18_003.8], abs=0.002)
        assert len(samples) < 5 * SAMPLE_RATE
        assert origin.position % ORIGIN_STEP == 0

    def test_timestamp_jitter_is_no_gap(self) -> None:
        """Packets a few milliseconds early and late give a continuous signal."""
        rate, size = 48_000, 4_800
        signal = tone(rate, seconds=2)
        parts = [
            (i / rate + (0.004 if i // size % 2 else 0.0), signal[i : i + size])
            for i in range(0, len(signal), size)
        ]

        samples = decode(encode("matroska", "pcm_s16le", rate, *parts), limits=LIMITS)

        np.testing.assert_allclose(
            samples, decode(wav(pcm16(signal), rate=rate), limits=LIMITS), atol=2e-4
        )

    def test_time_that_runs_back_keeps_audio_contiguous(self) -> None:
        """A second Ogg stream behind the first, its clock at 0 again, is appended."""
        file = encode("ogg", "libopus", 48_000, (0.0, click(48_000, 24_000)))

        samples = decode(file + file, limits=LIMITS)

        found = np.flatnonzero(np.abs(samples) > 0.15) / SAMPLE_RATE
        assert found == pytest.approx([0.5, 1.5], abs=0.03)

    def test_a_damaged_packet_keeps_its_time(self) -> None:
        """What follows undecodable packets in MP4 stays in place."""
        signal = noise(4 * 44_100) / 50
        signal[7 * 22_050] = 0.9
        file = bytearray(encode("mp4", "flac", 44_100, (0.0, signal)))
        middle = len(file) // 2
        file[middle : middle + 50_000] = bytes(50_000)

        samples = decode(bytes(file), limits=LIMITS)

        assert abs(peak_at(samples) - 7 * SAMPLE_RATE // 2) <= 1
        assert not samples[2 * SAMPLE_RATE + 2_000 : 2 * SAMPLE_RATE + 8_000].any()

    @pytest.mark.parametrize("hours", [2, 26, 10**5])
    def test_a_forged_timestamp_counts_as_length(self, hours: int) -> None:
        """A jump of hours is refused before a second of silence is made of it."""
        second = tone(48_000)
        file = encode(
            "matroska", "pcm_s16le", 48_000, (0.0, second), (hours * 3600, second)
        )
        n_blocks = 0

        with pytest.raises(AudioTooLong, match="3600 seconds"):  # noqa: PT012
            for _ in decode_stream(io.BytesIO(file), limits=LIMITS):
                n_blocks += 1

        assert n_blocks <= 1


class TestStreams:
    """Of all that a file holds, one audio stream is decoded."""

    @pytest.mark.parametrize(
        "container", ["mp4", "matroska", "mov", "avi", "mpegts", "nut"]
    )
    def test_sound_of_a_video(self, container: str) -> None:
        """The audio beside pictures is found."""
        samples = decode(video(container, audio_rate=44_100), limits=LIMITS)

        assert level_dbfs(samples) == pytest.approx(-6, abs=0.5)

    @pytest.mark.parametrize(
        "container", ["mp4", "matroska", "mov", "avi", "mpegts", "nut"]
    )
    def test_a_video_without_sound(self, container: str) -> None:
        """Pictures alone get an error that says so."""
        with pytest.raises(NoAudioStream, match="no audio track"):
            decode(video(container), limits=LIMITS)

    def test_cover_art_is_ignored(self) -> None:
        """An MP3 with a picture in its tag sounds like the same without."""
        image = io.BytesIO()
        with av.open(image, "w", format="image2pipe") as file:
            stream = file.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
            pixels = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
            file.mux(stream.encode(pixels))
            file.mux(stream.encode(None))
        picture = b"\0image/png\0\x03\0" + image.getvalue()
        frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
        assert len(frame) < 128 * 128
        tag = b"ID3\x03\0\0\0\0" + bytes([len(frame) >> 7, len(frame) & 127]) + frame
        sound = small_file("mp3", "libmp3lame", 44_100)
        with av.open(io.BytesIO(tag + sound)) as opened:
            assert len(opened.streams.video) == 1

        np.testing.assert_array_equal(
            decode(tag + sound, limits=LIMITS), decode(sound, limits=LIMITS)
        )


class TestNothingElseIsOpened:
    """An upload cannot make the server read another file or address."""

    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        """A recording that no upload may get at."""
        path = tmp_path / "secret.wav"
        path.write_bytes(wav(pcm16(np.ones(16_000))))
        return path

    @pytest.mark.parametrize(
        "playlist",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{}'\n",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 9 RTP/AVP 0\n",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">{}</MPD>',
        ],
        ids=["hls", "ffconcat", "sdp", "dash"],
    )
    def test_playlists(self, playlist: str, secret: Path) -> None:
        """A playlist named .wav is called text, and its target is not read."""
        source = io.BytesIO(playlist.format(secret).encode())
        source.name = "upload.wav"

        with pytest.raises(UnsupportedAudio, match="text, not audio"):
            decode(source, limits=LIMITS)

    @pytest.mark.parametrize(
        "magic",
        [
            *(b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"caff", b"RIFF\0\0\0\0AVI "),
            *(b"FLV\x01\x04\0\0\0\x09", b".snd", b"nut/multimedia container\0"),
            *(
                bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
                5 * (b"G" + bytes(187)),
            ),
            b"\x0b\x77\0\0\0\x40",
        ],
    )
    def test_a_playlist_behind_the_mark_of_a_recording(
        self, magic: bytes, secret: Path
    ) -> None:
        """Once a container is recognised, no other demuxer gets a try."""
        with pytest.raises((CorruptAudio, NoAudioStream)):
            decode(
                magic + f"\n#EXTM3U\n#EXTINF:10,\n{secret}\n".encode(), limits=LIMITS
            )

    def test_media_in_another_file(self, secret: Path) -> None:
        """A QuickTime reference to outside media is not followed."""
        own = encode("mov", "pcm_s16le", 16_000, (0.0, tone(16_000)))
        content = {b"dref": alias_to(str(secret))}
        file = join_boxes(replace_boxes(parse_boxes(own), content))
        asked: list[str] = []

        def lend(url: str, *_: Any) -> BinaryIO:
            asked.append(url)
            return secret.open("rb")

        with pytest.raises(EmptyAudio):
            decode(file, limits=LIMITS)
        # The reference is a good one: libav would follow it if it were let.
        options = {"enable_drefs": "1"}
        with av.open(
            io.BytesIO(file), "r", container_options=options, io_open=lend
        ) as opened:
            assert any(True for _ in opened.decode(audio=0))
        assert asked == ["secret.wav"]

    def test_an_unlisted_codec(self) -> None:
        """A decoder that is not on the list is not run."""
        file = small_file("matroska", "wavpack", 44_100)

        with pytest.raises(UnsupportedAudio, match="encoded with wavpack"):
            decode(file, limits=LIMITS)

    def test_names_are_not_looked_at(self) -> None:
        """A FLAC that calls itself a playlist is decoded."""
        source = io.BytesIO(small_file("flac", "flac", 16_000))
        source.name = "concat:list.m3u8"

        assert len(decode(source, limits=LIMITS)) == SAMPLE_RATE // 2


class TestBadFiles:
    """What cannot be decoded gets an error that says why and what to do."""

    def test_no_bytes(self) -> None:
        """An empty upload is called empty."""
        with pytest.raises(EmptyAudio, match="0 bytes"):
            decode(b"", limits=LIMITS)

    @pytest.mark.parametrize("stated", [0, 0xFFFFFFFF])
    def test_a_header_without_samples(self, stated: int) -> None:
        """A WAV of length zero is called empty, not damaged."""
        with pytest.raises(EmptyAudio, match="no samples"):
            decode(wav(b"", data_bytes=stated), limits=LIMITS)

    @pytest.mark.parametrize(
        "data",
        [
            b"hello",
            '{"text": "größe"}'.encode(),
            b"\xef\xbb\xbf<html>",
            b"ID3 not",
            b"\n" * 5000,
        ],
    )
    def test_text(self, data: bytes) -> None:
        """Text is called text, and the formats are listed."""
        with pytest.raises(UnsupportedAudio, match=r"is text.*Accepted: WAV, FLAC"):
            decode(data, limits=LIMITS)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x89PNG\r\n\x1a\n" + bytes(99),
            b"%PDF-1.4\n%\xe2\xe3",
            b"PK\3\4" + bytes(99),
            b"\0",
        ],
        ids=["png", "pdf", "zip", "nul"],
    )
    def test_other_files(self, data: bytes) -> None:
        """Other binary files are refused with the list of formats."""
        with pytest.raises(UnsupportedAudio, match=r"known audio format.*WebM"):
            decode(data, limits=LIMITS)

    def test_noise_is_not_mistaken_for_mpeg_audio(self) -> None:
        """Sync words that occur by chance do not make a file MP3 or AAC."""
        for seed in range(30):
            with pytest.raises(UnsupportedAudio):
                decode(np.random.default_rng(seed).bytes(70_000), limits=LIMITS)

    @pytest.mark.parametrize(("container", "codec", "rate"), FILES)
    def test_truncated_files_give_what_is_there(
        self, container: str, codec: str, rate: int
    ) -> None:
        """Two thirds of a file are two thirds of its sound, or an error (no index)."""
        file = encode(container, codec, rate, (0.0, noise(2 * rate)))
        cut = file[: len(file) * 2 // 3]

        if container in ("ipod", "mov", "mp4"):  # written with the index at the end
            with pytest.raises(CorruptAudio, match="incomplete"):
                decode(cut, limits=LIMITS)
        else:
            assert 0.6 < len(decode(cut, limits=LIMITS)) / SAMPLE_RATE < 1.5

    @pytest.mark.parametrize(("container", "codec", "rate"), FILES)
    def test_a_header_cut_short(self, container: str, codec: str, rate: int) -> None:
        """The first 16 bytes of any file are an error of ours, never of libav's."""
        with pytest.raises(OWN_ERRORS):
            decode(small_file(container, codec, rate)[:16], limits=LIMITS)

    @pytest.mark.parametrize(("container", "codec", "rate"), FILES)
    def test_damaged_headers_do_no_harm(
        self, container: str, codec: str, rate: int
    ) -> None:
        """Whatever they claim then, the file is decoded or refused."""
        file = small_file(container, codec, rate)
        for seed in range(20):
            rng = np.random.default_rng(seed)
            damaged = np.frombuffer(file, np.uint8).copy()
            places = rng.integers(0, min(len(file), 600), 12)
            damaged[places] = rng.integers(0, 256, 12)
            with contextlib.suppress(*REFUSALS):
                decode(damaged.tobytes(), limits=LIMITS)

    def test_garbage_amid_mp3(self) -> None:
        """Decoding goes on behind a damaged stretch."""
        file = encode("mp3", "libmp3lame", 44_100, (0.0, tone(44_100, seconds=4)))
        middle = len(file) // 2

        samples = decode(
            file[:middle] + bytes(range(256)) * 12 + file[middle:], limits=LIMITS
        )

        assert len(samples) == pytest.approx(4 * SAMPLE_RATE, rel=0.1)
        assert level_dbfs(samples[-SAMPLE_RATE:]) == pytest.approx(-6, abs=1)

    def test_damage_alone_is_corrupt(self) -> None:
        """A known container of which no packet decodes is called damaged."""
        file = parse_boxes(encode("mp4", "flac", 44_100, (0.0, noise(44_100))))
        size = next(len(body) for kind, body in file if kind == b"mdat")

        with pytest.raises(CorruptAudio, match="nothing in it could be decoded"):
            decode(
                join_boxes(replace_boxes(file, {b"mdat": bytes(size)})), limits=LIMITS
            )

    def test_endless_damage_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After so many bad packets in a row, the rest is not tried."""
        good = noise(44_100)
        file = bytearray(encode("mp4", "flac", 44_100, (0.0, np.tile(good, 4))))
        start, end = file.index(b"mdat") + 4, file.index(b"moov") - 4
        quarter = (end - start) // 4
        file[start + quarter : start + 3 * quarter] = bytes(2 * quarter)
        whole = decode(bytes(file), limits=LIMITS)

        monkeypatch.setattr(decoder, "MAX_BAD_PACKETS", 5)
        part = decode(bytes(file), limits=LIMITS)

        assert len(whole) == pytest.approx(4 * SAMPLE_RATE, rel=0.01)
        assert len(part) == pytest.approx(SAMPLE_RATE, rel=0.15)

    def test_messages_name_no_internals(self) -> None:
        """No message mentions libraries, paths or error numbers."""
        source = io.BytesIO(small_file("flac", "flac", 16_000)[:100])
        source.name = "/srv/spool/upload"

        with pytest.raises(CorruptAudio) as caught:
            decode(source, limits=LIMITS)

        assert not re.search(r"libav|ffmpeg|errno|spool", str(caught.value), re.I)


class TestLimits:
    """Limits hold against what is decoded, not against what headers say."""

    def test_length_is_inclusive(self) -> None:
        """And what a codec may add on top; one sample more does not pass."""
        limits = DecodeLimits(1.0, 8, 4_000, 48_000)
        most = SAMPLE_RATE + round(CODEC_PADDING_S * SAMPLE_RATE)

        assert len(decode(wav(bytes(2 * most)), limits=limits)) == most
        with pytest.raises(AudioTooLong, match="longer than 1 seconds"):
            decode(wav(bytes(2 * most + 2)), limits=limits)

    @pytest.mark.parametrize(
        ("container", "codec", "rate"),
        [
            ("mp3", "libmp3lame", 8_000),
            ("mp3", "libmp3lame", 44_100),
            ("adts", "aac", 8_000),
            ("mp4", "aac", 8_000),
            ("ogg", "libopus", 48_000),
            ("amr", "libopencore_amrnb", 8_000),
        ],
    )
    def test_padding_of_the_codec_is_not_counted(
        self, container: str, codec: str, rate: int
    ) -> None:
        """A recording of exactly the limit passes in every codec."""
        limits = DecodeLimits(1.0, 8, 4_000, 48_000)
        file = encode(container, codec, rate, (0.0, tone(rate)))

        assert len(decode(file, limits=limits)) >= SAMPLE_RATE - 400

    def test_a_lying_header_does_not_matter(self) -> None:
        """An hour stated and a second sent is a second."""
        limits = DecodeLimits(2.0, 8, 4_000, 48_000)
        file = wav(bytes(32_000), data_bytes=3600 * 32_000)

        assert len(decode(file, limits=limits)) == SAMPLE_RATE

    @pytest.mark.parametrize(
        ("container", "codec", "rate"),
        [("ogg", "libopus", 48_000), ("flac", "flac", 8_000)],
    )
    def test_a_small_file_of_long_silence_stops_early(
        self, container: str, codec: str, rate: int
    ) -> None:
        """A bomb (long silence in a few kilobytes) is not unpacked."""
        bomb = encode(container, codec, rate, (0.0, np.zeros(60 * rate)))
        limits = DecodeLimits(2.0, 8, 4_000, 48_000)
        n_samples = 0

        with pytest.raises(AudioTooLong):  # noqa: PT012
            for block in decode_stream(io.BytesIO(bomb), limits=limits):
                n_samples += len(block)

        assert len(bomb) < 60 * 1_000
        assert n_samples <= (2 + CODEC_PADDING_S) * SAMPLE_RATE

    @pytest.mark.parametrize(
        ("container", "codec", "rate"),
        [
            ("ogg", "libopus", 48_000),
            ("flac", "flac", 8_000),
            ("wav", "pcm_s16le", 8_000),
            ("mp3", "mp3", 16_000),
            ("mp4", "aac", 16_000),
            ("adts", "aac", 16_000),
            ("webm", "libopus", 48_000),
            ("matroska", "pcm_s16le", 16_000),
        ],
    )
    def test_a_file_that_is_too_long_is_refused_before_it_is_decoded(
        self, container: str, codec: str, rate: int
    ) -> None:
        """Or hours would be, for nothing."""
        file = encode(container, codec, rate, (0.0, np.zeros(60 * rate)))
        limits = DecodeLimits(20.0, 8, 4_000, 48_000)
        n_samples = 0

        with pytest.raises(AudioTooLong, match="20 seconds"):  # noqa: PT012
            for block in decode_stream(io.BytesIO(file), limits=limits):
                n_samples += len(block)

        assert n_samples == 0

    def test_a_flac_that_states_days_and_has_a_second_is_decoded(self) -> None:
        """What a header says is looked into, not believed."""
        file = bytearray(encode("flac", "flac", 16_000, (0.0, tone(16_000))))
        file[22:26] = b"\xff" * 4  # the number of samples

        samples = decode(bytes(file), limits=DecodeLimits(2.0, 8, 4_000, 48_000))

        assert len(samples) == SAMPLE_RATE

    def test_a_long_file_is_measured_a_bit_at_a_time(self) -> None:
        """Others get their turn in between."""
        file = encode("ogg", "libopus", 48_000, (0.0, np.zeros(60 * 48_000)))
        blocks = decode_stream(
            io.BytesIO(file), limits=DecodeLimits(50.0, 8, 4_000, 48_000)
        )

        assert [len(next(blocks)) for _ in range(2)] == [0, 0]

    def test_channels(self) -> None:
        """More channels than allowed are named in the error."""
        limits = DecodeLimits(10, 2, 4_000, 48_000)
        file = wav(pcm16(np.zeros((3, 16_000))), n_channels=3)

        with pytest.raises(TooManyChannels, match="3 channels; at most 2"):
            decode(file, limits=limits)

    @pytest.mark.parametrize(("rate", "passes"), [(7_999, 0), (8_000, 1), (48_001, 0)])
    def test_sample_rate(self, rate: int, passes: bool) -> None:
        """Rates outside the range are named in the error; its ends are inside."""
        limits = DecodeLimits(10, 2, 8_000, 48_000)
        file = wav(bytes(2 * rate), rate=rate)

        if passes:
            assert len(decode(file, limits=limits)) == SAMPLE_RATE
        else:
            with pytest.raises(UnsupportedSampleRate, match=f"is {rate} Hz"):
                decode(file, limits=limits)

    @pytest.mark.parametrize("size", [0x10000000, 0xFFFFFFFF])
    def test_a_header_cannot_claim_memory(self, size: int) -> None:
        """A WAV title or MP4 index of gigabytes in a small file costs nothing."""
        title = (
            b"LIST" + struct.pack("<I", size) + b"INFOISFT" + struct.pack("<I", size)
        )
        file = wav(bytes(32_000))
        own = encode("mov", "aac", 16_000, (0.0, tone(16_000)))
        index = {
            b"stsz": struct.pack(">III", 0, 1, 33_554_432),
            b"stsc": struct.pack(">IIIII", 0, 1, 1, 33_554_432, 1),
        }
        before = peak_memory_bytes()

        for bomb in (
            file[:36] + title + file[36:],
            join_boxes(replace_boxes(parse_boxes(own), index)),
        ):
            with pytest.raises(OWN_ERRORS):
                decode(bomb, limits=LIMITS)

        assert peak_memory_bytes() - before < 100 * 2**20


def peak_memory_bytes() -> int:
    """The process's highest memory so far (Linux; elsewhere 0, which tests nothing)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else 0


class TestStreaming:
    """Decoding is incremental, and lets go of everything."""

    def test_blocks_are_bounded_and_add_up(self) -> None:
        """All blocks but the last are full; together they are the recording."""
        signal = noise(50_000)

        blocks = list(decode_stream(io.BytesIO(wav(pcm16(signal))), limits=LIMITS))

        assert [len(b) for b in blocks] == [BLOCK_SAMPLES] * 3 + [2_000]
        np.testing.assert_allclose(np.concatenate(blocks), signal, atol=1e-4)
        assert all(b.flags.writeable and b.dtype == np.float32 for b in blocks)

    def test_nothing_is_read_before_the_first_block(self) -> None:
        """Making the generator does no work."""
        source = io.BytesIO(b"not audio")

        decode_stream(source, limits=LIMITS)

        assert source.tell() == 0

    @pytest.mark.parametrize(
        ("container", "codec"),
        [
            ("wav", "pcm_s16le"),
            ("flac", "flac"),
            ("mov", "pcm_s16le"),
            ("matroska", "pcm_s16le"),
            ("ogg", "flac"),
        ],
    )
    def test_a_file_is_read_as_it_is_decoded(self, container: str, codec: str) -> None:
        """The first block is there long before the file is read to its end."""
        file = encode(container, codec, 48_000, (0.0, noise(30 * 48_000)))
        source = CountingFile(file)

        next(decode_stream(source, limits=LIMITS))

        assert source.n_read < len(file) / 3

    def test_the_source_is_read_from_its_beginning_and_left_open(self) -> None:
        """Its position before does not matter, and closing it is the caller's job."""
        source = io.BytesIO(wav(pcm16(tone(16_000))))
        source.seek(1234)

        assert len(decode(source, limits=LIMITS)) == SAMPLE_RATE
        assert not source.closed

    def test_a_spooled_file(self) -> None:
        """A temporary file, in memory or rolled over to disk, is a good source."""
        file = wav(pcm16(noise(50_000)))

        for max_size in (0, len(file) - 1):
            with tempfile.SpooledTemporaryFile(max_size) as source:
                source.write(file)
                samples = decode(cast(BinaryIO, source), limits=LIMITS)
            np.testing.assert_array_equal(samples, decode(file, limits=LIMITS))

    @pytest.mark.parametrize("n_blocks", [0, 1, 3])
    def test_closing_early_frees_everything(self, n_blocks: int) -> None:
        """A generator closed at any point holds neither the file nor a decoder."""
        source = CountingFile(wav(pcm16(noise(160_000))))
        alive = weakref.ref(source)
        blocks = decode_stream(source, limits=LIMITS)
        for _ in range(n_blocks):
            next(blocks)

        blocks.close()
        del source, blocks
        gc.collect()

        assert alive() is None

    @pytest.mark.parametrize("container", ["wav", "mov"])
    @pytest.mark.parametrize("after", [0, 1, 70_000, 200_000])
    def test_what_the_source_raises_comes_through(
        self, container: str, after: int
    ) -> None:
        """A read error is the caller's own, not an error about the audio."""

        class Gone(Exception):
            pass

        sound = noise(160_000)
        source = CountingFile(encode(container, "pcm_s16le", 16_000, (0.0, sound)))
        source.fail_after, source.error = after, Gone()

        with pytest.raises(Gone):
            decode(source, limits=LIMITS)

    def test_worker_threads_do_not_disturb_each_other(self) -> None:
        """Many threads decoding at once each get their own samples."""
        files = [small_file(*kind) for kind in FILES]
        expected = [decode(file, limits=LIMITS) for file in files]
        wrong: list[int] = []

        def work(i: int) -> None:
            for _ in range(3):
                if not np.array_equal(decode(files[i], limits=LIMITS), expected[i]):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(files))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []

    def test_decoders_use_one_thread(self) -> None:
        """Decoding starts no threads of its own."""
        blocks = decode_stream(
            io.BytesIO(small_file("flac", "flac", 16_000)), limits=LIMITS
        )
        tasks = Path("/proc/self/task")
        before = len(list(tasks.iterdir())) if tasks.exists() else 0

        next(blocks)

        assert (len(list(tasks.iterdir())) if tasks.exists() else 0) <= before

    def test_libav_stays_silent(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Damaged files leave nothing on stdout or stderr."""
        file = bytearray(small_file("mp3", "libmp3lame", 44_100))
        file[3000:4000] = bytes(1000)

        decode(bytes(file), limits=LIMITS)

        assert capfd.readouterr() == ("", "")


class CountingFile(io.BytesIO):
    """Counts the bytes read, and fails when told to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.n_read = 0
        self.fail_after: int | None = None
        self.error: Exception = OSError()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.fail_after is not None and self.n_read >= self.fail_after:
            raise self.error
        data = super().read(size)
        self.n_read += len(data)
        return data


def check(file: bytes) -> None:
    """Decode a damaged file; only our own errors may come out."""
    limits = DecodeLimits(120, 8, 4_000, 192_000)
    try:
        blocks = list(decode_stream(io.BytesIO(file), limits=limits))
    except OWN_ERRORS:
        return
    # Empty ones are turns for other recordings, while a long file is measured.
    assert all(len(b) <= BLOCK_SAMPLES for b in blocks)
    assert all(np.abs(b).max(initial=0) <= 1 for b in blocks)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return damageable_files()


def damageable_files() -> list[bytes]:
    """A small file of each kind, to be damaged."""
    movflags = {"movflags": "frag_keyframe+empty_moov"}
    return [
        *(small_file(*kind) for kind in FILES),
        encode("mp4", "aac", 16_000, (0.0, tone(16_000)), options=movflags),
        vorbis(tone(16_000), 16_000),
        video("mp4", audio_rate=16_000),
        video("matroska", audio_rate=16_000),
    ]


def test_a_stream_that_begins_within_the_file_changes_nothing() -> None:
    """FLV allows that; behind what is read to recognise it, PyAV does not know it."""
    sound = small_file("flv", "aac", 44_100, seconds=30)
    key_frame = b"\x12" + bytes(20)
    tag = b"\x09" + len(key_frame).to_bytes(3) + bytes(7) + key_frame
    file = sound + tag + len(tag).to_bytes(4)

    found = decode(file, limits=LIMITS)

    np.testing.assert_array_equal(found, decode(sound, limits=LIMITS))


class TestDamage:
    """Whatever is done to a file, decoding ends with samples or an error of ours."""

    def test_random_damage(self, files: list[bytes]) -> None:
        """Hundreds of flipped, cut, stuffed and spliced files, always the same ones."""
        rng = np.random.default_rng(5)

        for i in range(600):
            check(mutate(files[i % len(files)], rng, files))

    @pytest.mark.parametrize("keep", [1, 3, 11, 12, 13, 44, 45, 100, 1000])
    def test_every_file_cut_short(self, files: list[bytes], keep: int) -> None:
        """Any beginning of any file."""
        for file in files:
            check(file[:keep])
