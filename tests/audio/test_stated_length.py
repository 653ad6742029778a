"""Recordings that end before their header says so."""

import io

import pytest

from audio.decoder import CorruptAudio, DecodeLimits, decode_stream
from audio.samples import SAMPLE_RATE
from audio.stated_length import LEAST_MISSING, Ending
from benchmarks.corpus.encoders import encode
from tests.support.audio_files import pcm16, tone, video, wav

LIMITS = DecodeLimits(
    max_seconds=60, max_channels=8, min_sample_rate=4_000, max_sample_rate=192_000
)
LENGTH_S = 9
WAV = wav(pcm16(tone(SAMPLE_RATE, seconds=LENGTH_S)))

# Container, codec and options of files that state their length.
STATING = [
    ("flac", "flac", {}),
    ("mp3", "libmp3lame", {}),
    ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ("matroska", "libopus", {}),
    ("aiff", "pcm_s16be", {}),
    ("au", "pcm_s16be", {}),
    ("flv", "aac", {}),
]
# And of those that do not, or of which libav only guesses.
SILENT = [
    ("mp3", "libmp3lame", {"write_xing": "0"}),
    ("ogg", "libopus", {}),
    ("adts", "aac", {}),
    ("mpegts", "aac", {}),
    ("webm", "libopus", {"live": "1"}),
]


def ending(file: bytes) -> Ending:
    """Decode a file; return how it ends."""
    found = Ending()
    for _ in decode_stream(io.BytesIO(file), limits=LIMITS, ending=found):
        pass
    return found


def encoded(container: str, codec: str, options: dict[str, str]) -> bytes:
    rate = 48_000 if codec == "libopus" else SAMPLE_RATE
    rate = 44_100 if container == "flv" else rate
    sound = tone(rate, seconds=LENGTH_S)
    return encode(container, codec, rate, (0, sound), options=options)


class TestCutOff:
    def test_a_wav_of_nine_seconds_with_two_of_audio(self) -> None:
        """By its header, which libav reads otherwise."""
        found = ending(WAV[: 44 + 2 * 2 * SAMPLE_RATE])

        assert found == Ending(9 * SAMPLE_RATE, 7 * SAMPLE_RATE)

    @pytest.mark.parametrize("file", STATING, ids=lambda file: "-".join(file[:2]))
    def test_others_that_state_their_length(
        self, file: tuple[str, str, dict[str, str]]
    ) -> None:
        """Whole, nothing is missing; of a third of its bytes, most is."""
        whole = encoded(*file)

        assert ending(whole).missing == 0
        found = ending(whole[: len(whole) // 3])
        assert found.stated == pytest.approx(LENGTH_S * SAMPLE_RATE, rel=0.02)
        assert found.missing == pytest.approx(2 * found.stated / 3, rel=0.2)

    def test_a_little_is_padding(self) -> None:
        """Encoders put some before and after."""
        short = len(WAV) - 2 * LEAST_MISSING

        assert ending(WAV[: short + 2]).missing == 0
        assert ending(WAV[:short]).missing == LEAST_MISSING


class TestUnknown:
    @pytest.mark.parametrize("file", SILENT, ids=lambda file: "-".join(file[:2]))
    def test_files_that_state_nothing(
        self, file: tuple[str, str, dict[str, str]]
    ) -> None:
        """Nothing is known to be missing."""
        whole = encoded(*file)

        assert ending(whole[: len(whole) // 3]) == Ending(0, 0)

    @pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF])
    def test_a_recorder_that_cannot_seek_back(self, size: int) -> None:
        """It writes a placeholder."""
        assert ending(wav(pcm16(tone(SAMPLE_RATE)), data_bytes=size)) == Ending(0, 0)

    def test_a_flac_without_a_count(self) -> None:
        """As it is written to a pipe."""
        file = bytearray(encoded("flac", "flac", {}))
        file[21] &= 0xF0
        file[22:26] = bytes(4)

        assert ending(bytes(file[: len(file) // 3])) == Ending(0, 0)

    def test_pictures_may_be_longer_than_their_sound(self) -> None:
        """Only the whole file states a length here."""
        assert ending(video("matroska", audio_rate=SAMPLE_RATE)) == Ending(0, 0)

    def test_damage_is_still_an_error_if_nothing_is_left(self) -> None:
        """Not a warning about all of it."""
        with pytest.raises(CorruptAudio):
            ending(encoded("flac", "flac", {})[:100])
