"""What is asked for in the address: honoured, ignored or refused, by one table."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.encoding import Encoding
from protocols.deepgram.parameters import (
    AudioFormat,
    BadParameter,
    read_flux,
    read_nova,
    read_recording,
)
from protocols.deepgram.table import PARAMETERS, Door, Treatment
from protocols.deepgram.thresholds import Thresholds

READ: dict[Door, Callable[..., Any]] = {
    Door.FLUX: read_flux,
    Door.NOVA: read_nova,
    Door.RECORDINGS: read_recording,
}

AUDIO = "encoding=linear16&sample_rate=16000"

# What the frameworks send of themselves.
PIPECAT_FLUX = (
    "model=flux-general-en&sample_rate=16000&encoding=linear16"
    "&eager_eot_threshold=0.5&mip_opt_out=true"
)
PIPECAT_NOVA = (
    "channels=1&detect_entities=false&diarize=false&dictation=false"
    "&encoding=linear16&interim_results=true&language=en&model=nova-3-general"
    "&multichannel=false&numerals=false&punctuate=true&sample_rate=16000"
    "&smart_format=false"
)
LIVEKIT_NOVA = (
    "model=nova-3&punctuate=true&smart_format=false&no_delay=true"
    "&interim_results=true&encoding=linear16&vad_events=true&sample_rate=16000"
    "&channels=1&endpointing=25&filler_words=true&profanity_filter=false"
    "&numerals=false&mip_opt_out=false&language=en-US"
)


def read(door: Door, query: str) -> Any:
    items = parse_qsl(query, keep_blank_values=True)
    return READ[door](items, known_model=lambda name: name == "ours", max_keyterms=9)


class TestTable:
    @pytest.mark.parametrize("name", PARAMETERS)
    @pytest.mark.parametrize("door", Door)
    def test_it_says_what_happens(self, door: Door, name: str) -> None:
        """Of each parameter, at each door."""
        asked_for = {
            "encoding": "mulaw",
            "sample_rate": "8000",
            "channels": "2",
            "model": "ours",
            "language": "de",
            "language_hint": "de",
            "eot_threshold": "0.8",
            "eager_eot_threshold": "0.4",
            "eot_timeout_ms": "700",
            "endpointing": "900",
            "utterance_end_ms": "1200",
            "utt_split": "0.3",
            "extra": "a:b",
        }.get(name, "true")
        base = f"{AUDIO}&{name}={asked_for}" if door is not Door.RECORDINGS else ""
        query = base or f"{AUDIO}&{name}={asked_for}"

        treatment = PARAMETERS[name][door.value]
        plain = read(door, AUDIO)
        if treatment is Treatment.REFUSED:
            with pytest.raises(BadParameter) as refused:
                read(door, query)
            assert refused.value.name == name
            return
        asked = read(door, query)
        kept = {"ignored"}
        changed = {
            field
            for field in type(plain).__dataclass_fields__
            if getattr(plain, field) != getattr(asked, field)
        }
        if treatment is Treatment.HONOURED:
            assert changed - kept
        else:
            assert not changed - kept

    @given(st.text(), st.text(), st.sampled_from(sorted(Door, key=lambda d: d.value)))
    def test_what_nobody_knows_is_ignored(
        self, name: str, value: str, door: Door
    ) -> None:
        """Clients gain parameters every month."""
        if name in PARAMETERS:
            return
        items = [("encoding", "linear16"), ("sample_rate", "16000"), (name, value)]

        asked = READ[door](items, known_model=lambda name: False, max_keyterms=9)

        assert asked == read(door, AUDIO)

    @given(
        st.lists(st.tuples(st.sampled_from(sorted(PARAMETERS)), st.text())),
        st.sampled_from(sorted(Door, key=lambda d: d.value)),
    )
    def test_nonsense_is_refused_by_name_or_ignored(
        self, items: list[tuple[str, str]], door: Door
    ) -> None:
        """Nothing else is raised, whatever comes."""
        refused: BadParameter | None = None
        try:
            READ[door](items, known_model=lambda name: False, max_keyterms=9)
        except BadParameter as error:
            refused = error
        if refused is not None:
            assert refused.name in PARAMETERS
            assert refused.name in str(refused)
            assert len(str(refused)) < 500


class TestDefaults:
    @pytest.mark.parametrize(
        ("door", "query"),
        [
            (Door.FLUX, PIPECAT_FLUX),
            (Door.NOVA, PIPECAT_NOVA),
            (Door.NOVA, LIVEKIT_NOVA),
        ],
    )
    def test_what_clients_send_by_themselves_is_let_in(
        self, door: Door, query: str
    ) -> None:
        """A refused handshake is the end for them."""
        asked = read(door, query)

        assert asked.audio == AudioFormat(Encoding.S16LE, 16_000)

    def test_flux(self) -> None:
        """Deepgram's own defaults."""
        assert read(Door.FLUX, AUDIO).thresholds == Thresholds(0.7, None, 5_000)

    def test_nova(self) -> None:
        """No interim results and no events unless they are asked for."""
        asked = read(Door.NOVA, AUDIO)

        assert not asked.interim_results
        assert not asked.vad_events
        assert asked.utterance_end_ms is None


class TestAudio:
    @pytest.mark.parametrize(
        ("name", "encoding"),
        [
            ("linear16", Encoding.S16LE),
            ("linear32", Encoding.F32LE),
            ("mulaw", Encoding.MULAW),
            ("alaw", Encoding.ALAW),
        ],
    )
    def test_encodings(self, name: str, encoding: Encoding) -> None:
        """Those that a stream can have without a container."""
        asked = read(Door.FLUX, f"encoding={name}&sample_rate=48000")

        assert asked.audio == AudioFormat(encoding, 48_000)

    @pytest.mark.parametrize(
        ("query", "named"),
        [
            ("", "encoding is missing"),
            ("encoding=opus&sample_rate=48000", "'opus' is not supported in a stream"),
            ("encoding=linear16", "sample_rate is missing"),
            ("encoding=linear16&sample_rate=4000", "sample_rate is 4000"),
            (
                "encoding=linear16&sample_rate=fast",
                "sample_rate 'fast' is not a number",
            ),
            ("encoding=linear16&sample_rate=inf", "is not a number"),
            (
                AUDIO + "".join(f"&keyterm={k}" for k in range(10)),
                "at most 9 are allowed",
            ),
            (f"{AUDIO}&keyterm={'x' * 101}", "keyword 1 has 101 characters"),
            (f"{AUDIO}&model=large-v3", "'large-v3' is not served here"),
            (f"{AUDIO}&redact=pci", "redact is not supported"),
        ],
    )
    @pytest.mark.parametrize("door", [Door.FLUX, Door.NOVA])
    def test_what_cannot_be_done_is_refused(
        self, door: Door, query: str, named: str
    ) -> None:
        """With what to do instead."""
        with pytest.raises(BadParameter, match=named):
            read(door, query)

    def test_a_recording_says_what_it_is(self) -> None:
        """Also where its client says something else."""
        assert read(Door.RECORDINGS, "").audio is None
        assert read(Door.RECORDINGS, "encoding=opus").audio is None
        assert read(Door.RECORDINGS, AUDIO).audio is not None


class TestNova:
    @pytest.mark.parametrize(
        ("query", "milliseconds", "marked"),
        [
            ("", 350, True),
            ("endpointing=10", 350, True),
            ("endpointing=true", 350, True),
            ("endpointing=800", 800, True),
            ("endpointing=20000", 10_000, True),
            ("endpointing=false", 1_000, False),
            ("endpointing=0", 1_000, False),
        ],
    )
    def test_endpointing(self, query: str, milliseconds: int, marked: bool) -> None:
        """Never so short that it would cut sentences to pieces."""
        asked = read(Door.NOVA, f"{AUDIO}&{query}")

        assert (asked.endpointing_ms, asked.marks_endpoints) == (milliseconds, marked)

    @pytest.mark.parametrize("query", ["endpointing=x", "utterance_end_ms=-1"])
    def test_unreadable_numbers(self, query: str) -> None:
        """Named."""
        with pytest.raises(BadParameter, match=query.partition("=")[0]):
            read(Door.NOVA, f"{AUDIO}&{query}")

    @pytest.mark.parametrize("language", ["bam_Latn", "bm", "multi", "xx", ""])
    def test_no_language_is_refused(self, language: str) -> None:
        """The text does not depend on it."""
        assert read(Door.NOVA, f"{AUDIO}&language={language}")

    def test_what_leaves_the_text_other_than_expected_is_noted(self) -> None:
        """Not what only decorates it, and not what is asked for in the negative."""
        query = f"{AUDIO}&diarize=true&numerals=false&punctuate=true&search=x"

        assert read(Door.NOVA, query).ignored == ("diarize", "search")

    def test_key_terms_of_both_generations(self) -> None:
        """The older ones have weights."""
        query = f"{AUDIO}&keyterm=Nana+Ama&keywords=Bamako:2&keywords=Segou"

        assert read(Door.NOVA, query).keyterms == ("Nana Ama", "Bamako", "Segou")
