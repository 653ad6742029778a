"""From words to subtitles: where they break, how long they show, how they are written.

What is written is read back by FFmpeg, which knows nothing of how it came about.
"""

# ruff: noqa: RUF001 (the punctuation of other scripts is meant)

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import av
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from audio.samples import SAMPLE_RATE
from text import ctc, subtitles
from text.ctc import Token, Word
from text.subtitle_files import srt, vtt
from text.subtitles import Cue
from text.transcript import SEGMENT_PAUSE

COMPOUND = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"

LONG_TEXTS = {
    "English": "The train to the coast leaves at nine, so we should be at the station "
    "by half past eight. Bring a coat! It is always windy there, even in the summer, "
    "and nobody wants to walk along the shore with cold hands.",
    "unpunctuated": "what the models write has neither capitals nor commas and so only "
    "the pauses and the length of the words can tell where one thing ends",
    "German": f"Das {COMPOUND} galt bis 2013, z.B. in Mecklenburg-Vorpommern.",
    "Hindi": "यह एक बहुत लंबा वाक्य है जो दो पंक्तियों में टूटना चाहिए। दूसरा वाक्य यहाँ है "
    "और यह भी काफ़ी लंबा है।",
    "Mandarin": "今天天气很好，我们一起去公园散步吧。公园里有很多人，有的人在跑步，"
    "有的人在打太极拳，还有一些孩子在草地上玩耍。你觉得怎么样？",
    "Japanese": "コンピューターは「とても」便利です。しかし、使いすぎると目が疲れて"
    "しまうので、ときどき休憩をとりましょう。",
    "Thai": "สวัสดีครับ วันนี้เราจะมาพูดคุยเกี่ยวกับการเรียนรู้ภาษาไทย "
    "เพราะว่าภาษาไทยเป็นภาษาที่สวยงามและน่าสนใจมาก",
    "Arabic": "مرحبا بكم في هذا البرنامج. هل تعرفون كيف نتعلم اللغة العربية؟ نعم، "
    "نتعلمها كل يوم في المدرسة وفي البيت.",
    "mixed": "我们用 OpenAI 的 API 来做 speech recognition，准确率是 98.5% 以上，"
    "كل يوم 2024 年 और हर दिन।",
    "digits": " ".join(str(number) for number in range(1900, 1940)),
}


FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"

VOCABULARY = (
    *("a", "no.", "word", "Dr.", "well,", "“yes!”", "99", COMPOUND, COMPOUND * 3),
    *("五", "好。", "「", "ー", "カ", "เ", "ที่", "า", "हिन्दी", "है।", "مرحبا", "نعم؟"),
    FAMILY,
)


def speak(
    text: str, *, columns_per_s: float = 14, pauses_s: dict[str, float] | None = None
) -> tuple[Word, ...]:
    """Say a text evenly, without a gap but after the words that `pauses_s` names."""
    found: list[Word] = []
    position = 0
    for word in words_of(text):
        n_columns = max(wcswidth(word.text), 1)
        end = position + round(n_columns / columns_per_s * SAMPLE_RATE)
        found.append(Word(word.text, position, end, 1.0, word.space_before))
        position = end + round((pauses_s or {}).get(word.text, 0) * SAMPLE_RATE)
    return tuple(found)


def words_of(text: str) -> tuple[Word, ...]:
    return ctc.words([Token(2, character, 0, 0, 1.0) for character in text])


def texts(cues: Sequence[Cue]) -> list[str]:
    return [cue.text for cue in cues]


def assert_fits(cues: Sequence[Cue]) -> None:
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        for line in cue.lines:
            assert line == line.strip() != ""
            assert wcswidth(line) <= 42
        assert 0 < cue.end - cue.start <= 7 * SAMPLE_RATE
    for cue, following in pairwise(cues):
        assert cue.end <= following.start


def unbroken(text: str) -> str:
    """Without what lines and cues may replace or insert."""
    return regex.sub(r"\s", "", text)


@st.composite
def spoken(draw: st.DrawFn) -> tuple[Word, ...]:
    """Words of any script, spoken at any speed, with pauses and small overlaps."""
    position = 0
    words: list[Word] = []
    for text in draw(st.lists(st.sampled_from(VOCABULARY), max_size=40)):
        position = max(position + draw(st.integers(-80, 20_000)), 0)
        end = position + draw(st.one_of(st.integers(0, 9_000), st.just(200_000)))
        space_before = bool(words) and draw(st.booleans())
        words.append(Word(text, position, end, 1.0, space_before))
        position = end
    return tuple(sorted(words, key=lambda word: word.start))


class TestLimits:
    @pytest.mark.parametrize("name", LONG_TEXTS)
    @pytest.mark.parametrize("columns_per_s", [2, 14, 40])
    def test_every_script_fits_at_every_speed(
        self, name: str, columns_per_s: float
    ) -> None:
        """Two lines of 42 columns, 7 s, none at a time with another; nothing lost."""
        words = speak(LONG_TEXTS[name], columns_per_s=columns_per_s)

        cues = subtitles.cues(words)

        assert_fits(cues)
        assert unbroken("".join(texts(cues))) == unbroken(ctc.text(words))

    @given(spoken())
    def test_nothing_is_lost_whatever_is_said(self, words: tuple[Word, ...]) -> None:
        """Every word once and in order, within every limit."""
        cues = subtitles.cues(words)

        assert_fits(cues)
        assert unbroken("".join(texts(cues))) == unbroken(ctc.text(words))

    @given(spoken())
    def test_only_words_too_long_for_a_line_are_broken(
        self, words: tuple[Word, ...]
    ) -> None:
        """Line breaks stand where words meet, and replace a space if there is one."""
        short = [word for word in words if wcswidth(word.text) <= 42]

        cues = subtitles.cues(short)

        remaining = [line for cue in cues for line in cue.lines]
        for word in short:
            assert remaining[0].startswith(word.text)
            remaining[0] = remaining[0].removeprefix(word.text).removeprefix(" ")
            if not remaining[0]:
                remaining.pop(0)
        assert not remaining

    def test_nothing_said_is_nothing_shown(self) -> None:
        """Both formats stay valid."""
        assert subtitles.cues(()) == ()
        assert srt(()) == ""
        assert vtt(()) == "WEBVTT\n\n"


class TestCueBreaks:
    def test_a_pause_between_segments_parts_cues(self) -> None:
        """Also in the middle of a phrase."""
        pause_s = SEGMENT_PAUSE / SAMPLE_RATE

        cues = subtitles.cues(speak("one two three", pauses_s={"two": pause_s}))

        assert texts(cues) == ["one two", "three"]

    def test_sentences_get_cues_of_their_own(self) -> None:
        """Though both would fit into one."""
        cues = subtitles.cues(speak("That is quite right. Nobody knows it yet."))

        assert texts(cues) == ["That is quite right.", "Nobody knows it yet."]

    @pytest.mark.parametrize("end", [*".!?…。？।۔؟።", ".”", "!»"])
    def test_sentences_end_in_every_script(self, end: str) -> None:
        """By the character's Unicode property, quotation marks behind it or not."""
        text = f"Number one says something{end} Number two says another thing{end}"

        assert len(subtitles.cues(speak(text))) == 2

    @pytest.mark.parametrize(
        "text", ["We met J. Smith at home.", "Kühe, z.B. Zebus, u.a. hier", "a etc. b"]
    )
    def test_abbreviations_end_no_sentence(self, text: str) -> None:
        """Initials, and a full stop before a small letter."""
        assert texts(subtitles.cues(speak(text, columns_per_s=8))) == [text]

    def test_sentences_too_short_to_read_share_a_cue(self) -> None:
        """A cue of half a second would only flash."""
        cues = subtitles.cues(speak("Yes. No. I really do not know what to say."))

        assert texts(cues)[0].startswith("Yes. No.")

    def test_a_clause_is_better_than_any_word(self) -> None:
        """Where a sentence needs more than one cue."""
        cues = subtitles.cues(
            speak(
                "Whoever comes to the house when the sun has gone down, should knock "
                "at the door three times and then wait"
            )
        )

        assert texts(cues)[0].endswith("down,")

    def test_the_longest_pause_is_better_than_other_places(self) -> None:
        """There is nothing else to go by without punctuation."""
        text = LONG_TEXTS["unpunctuated"]

        cues = subtitles.cues(speak(text, pauses_s={"commas": 0.5, "has": 0.1}))

        assert texts(cues)[0].endswith("commas")

    def test_no_last_word_is_left_alone(self) -> None:
        """Cues of one sentence share its words; a greedy division would not."""
        text = " ".join(["word"] * 18)  # 89 columns

        sizes = [len(cue.text.split()) for cue in subtitles.cues(speak(text))]

        assert len(sizes) == 2
        assert min(sizes) >= 6

    def test_slow_speech_is_divided_by_time(self) -> None:
        """10 s of speech cannot be one cue, however short the text."""
        cues = subtitles.cues(speak("ten seconds for this", columns_per_s=2))

        assert len(cues) == 2

    def test_speech_without_any_pause_makes_full_cues(self) -> None:
        """However long it goes on."""
        words = speak(" ".join(["endless"] * 5_000))

        cues = subtitles.cues(words)

        assert_fits(cues)
        assert len(cues) <= 5_000 * 8 / 60


class TestLines:
    def test_what_fits_into_one_line_is_one(self) -> None:
        """42 columns, but not 43."""
        fits = speak("a" * 20 + " " + "b" * 21)
        does_not = speak("a" * 20 + " " + "b" * 22)

        assert [len(cue.lines) for cue in subtitles.cues(fits)] == [1]
        assert [len(cue.lines) for cue in subtitles.cues(does_not)] == [2]

    def test_wide_characters_take_two_columns(self) -> None:
        """21 of them fill a line."""
        (one,) = subtitles.cues(speak("五" * 21))
        (two,) = subtitles.cues(speak("五" * 22))

        assert (len(one.lines), len(two.lines)) == (1, 2)

    def test_lines_are_even_or_the_lower_is_longer(self) -> None:
        """So the eye has a short way."""
        (cue,) = subtitles.cues(speak(" ".join(["word"] * 11)))

        assert [len(line.split()) for line in cue.lines] == [5, 6]

    def test_a_longer_lower_line_is_better_than_nearly_even_ones(self) -> None:
        """The upper one hides less of the picture."""
        text = " ".join(["a" * 20, "b" * 3, "c" * 22])

        (cue,) = subtitles.cues(speak(text))

        assert cue.lines == ("a" * 20, "b" * 3 + " " + "c" * 22)

    def test_lines_break_at_a_clause(self) -> None:
        """Rather than exactly in the middle."""
        (cue,) = subtitles.cues(speak("When it rains, everybody stays in the house"))

        assert cue.lines == ("When it rains,", "everybody stays in the house")

    def test_a_word_longer_than_a_line_is_broken_in_the_middle(self) -> None:
        """Its parts share one cue."""
        (cue,) = subtitles.cues(speak(COMPOUND))

        assert "".join(cue.lines) == COMPOUND
        assert [len(line) for line in cue.lines] == [32, 31]

    def test_a_broken_word_stays_in_one_cue(self) -> None:
        """Whatever stands around it."""
        for n_before in range(12):
            words = speak("wir " * n_before + COMPOUND + " gilt nun")

            cues = subtitles.cues(words)

            assert any(COMPOUND in "".join(cue.lines) for cue in cues)

    def test_a_word_of_many_lines_appears_as_it_is_spoken(self) -> None:
        """Its time is shared out evenly."""
        words = speak("é" * 168, columns_per_s=20)

        first, second = subtitles.cues(words)

        assert first.lines == second.lines == ("é" * 42,) * 2
        assert second.start == words[0].end // 2

    @pytest.mark.parametrize("cluster", ["e\u0301", "नि", FAMILY])
    def test_graphemes_are_never_split(self, cluster: str) -> None:
        """Neither accents nor vowel signs nor families."""
        word = Word(cluster * 50, 0, SAMPLE_RATE, 1.0, False)

        for cue in subtitles.cues([word]):
            for line in cue.lines:
                assert set(regex.findall(r"\X", line)) == {cluster}

    @pytest.mark.parametrize("text", ["カー", "しょ", "เก", "กา", "「五", "人々"])
    def test_characters_that_belong_together_stay_together(self, text: str) -> None:
        """At each place of a line where the pair may fall."""
        for n_before in range(60):
            words = speak("五" * n_before + text + "五" * 20)

            lines = [line for cue in subtitles.cues(words) for line in cue.lines]

            assert sum(line.count(text) for line in lines) == 1

    def test_an_endless_run_of_such_characters_is_broken(self) -> None:
        """A line is only so long."""
        cues = subtitles.cues(speak("カ" + "ー" * 99))

        assert_fits(cues)

    @pytest.mark.parametrize("text", ["\u200b", "\u0301"])
    def test_so_is_one_that_takes_no_column(self, text: str) -> None:
        """Else there would be no end of what fits into a line."""
        words = [Word(text, 0, 0, 1.0, False)] * 500

        cues = subtitles.cues(words)

        assert max(len(line) for cue in cues for line in cue.lines) <= 42 * 42
        assert sum(len(cue.text.replace("\n", "")) for cue in cues) == 500
        assert len(cues) > 1 or text == "\u0301"

    def test_thai_breaks_at_its_spaces(self) -> None:
        """They part phrases; what is between them is not known to be words."""
        lines = [
            line
            for cue in subtitles.cues(speak(LONG_TEXTS["Thai"]))
            for line in cue.lines
        ]

        assert lines == LONG_TEXTS["Thai"].split()

    def test_right_to_left_stays_in_the_order_of_speech(self) -> None:
        """Players lay it out; no marks are added."""
        cues = subtitles.cues(speak(LONG_TEXTS["Arabic"]))

        assert cues[0].text == "مرحبا بكم في هذا البرنامج."


class TestTimes:
    def test_a_cue_appears_with_its_first_sound(self) -> None:
        """Neither before nor after."""
        (cue,) = subtitles.cues([Word("hello", 5_000, 9_000, 1.0, False)])

        assert cue.start == 5_000

    def test_a_short_one_stays_for_a_second(self) -> None:
        """Where nothing follows."""
        (cue,) = subtitles.cues([Word("no", 0, 1_600, 1.0, False)])

        assert cue.end == SAMPLE_RATE

    def test_a_fast_one_stays_until_it_is_read(self) -> None:
        """At 17 columns a second."""
        (cue,) = subtitles.cues(speak("a" * 34, columns_per_s=100))

        assert cue.end == 2 * SAMPLE_RATE

    def test_every_one_lingers_for_half_a_second(self) -> None:
        """After its last word."""
        words = speak("slow enough to be read", columns_per_s=10)

        (cue,) = subtitles.cues(words)

        assert cue.end == words[-1].end + SAMPLE_RATE // 2

    @pytest.mark.parametrize("pause_s", [0.8, 1.0, 1.07])
    def test_one_that_nearly_meets_the_next_stays_until_it(
        self, pause_s: float
    ) -> None:
        """But for two frames, which make the change visible."""
        words = speak("slow enough here", columns_per_s=5, pauses_s={"enough": pause_s})

        first, second = subtitles.cues(words)

        assert second.start - first.end == pytest.approx(0.08 * SAMPLE_RATE, abs=1)

    def test_one_leaves_long_before_a_distant_next(self) -> None:
        """A long silence shows nothing."""
        words = speak("slow enough here", columns_per_s=5, pauses_s={"enough": 60})

        first, _ = subtitles.cues(words)

        assert first.end == words[1].end + SAMPLE_RATE // 2

    def test_none_outlasts_the_recording(self) -> None:
        """The last sound ends with it."""
        words = speak("so it ends")

        (cue,) = subtitles.cues(words, n_samples=words[-1].end)

        assert words[-1].end - SAMPLE_RATE // 10 < cue.end <= words[-1].end

    def test_a_word_of_more_than_7_seconds_leaves_early(self) -> None:
        """It cannot be divided."""
        (cue,) = subtitles.cues([Word("oooh", 0, 9 * SAMPLE_RATE, 1.0, False)])

        assert (cue.start, cue.end) == (0, 7 * SAMPLE_RATE)


class TestFormats:
    CUES = (
        Cue(0, 40_000, ("Text",)),
        Cue(3_600 * 100 * SAMPLE_RATE, 3_600 * 100 * SAMPLE_RATE + 8, ("a", "b")),
    )

    def test_srt_is_numbered_with_commas(self) -> None:
        """Hours take the digits they need, and every cue lasts 1 ms."""
        assert srt(self.CUES) == (
            "1\n00:00:00,000 --> 00:00:02,500\nText\n\n"
            "2\n100:00:00,000 --> 100:00:00,001\na\nb\n\n"
        )

    def test_vtt_has_a_header_and_points(self) -> None:
        """And no numbers."""
        assert vtt(self.CUES) == (
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nText\n\n"
            "100:00:00.000 --> 100:00:00.001\na\nb\n\n"
        )

    def test_vtt_escapes_what_is_markup(self) -> None:
        """An arrow among it, which would be read as a time."""
        written = vtt([Cue(0, 16_000, ("<b> & --> &amp;",))])

        assert written.splitlines()[3] == "&lt;b&gt; &amp; --&gt; &amp;amp;"
        assert read(written, "webvtt") == [(0, 1_000, "<b> & --> &amp;")]

    @pytest.mark.parametrize("text", ["-->", "a --> b", "--->", "-->>", "-- ->-->"])
    def test_no_text_is_taken_for_times(self, text: str) -> None:
        """SubRip cannot escape an arrow, so it becomes another one."""
        cues = [Cue(0, 16_000, (text, "0 --> 1")), Cue(16_000, 32_000, ("next",))]

        written = srt(cues)

        assert written.count("-->") == 2
        assert len(read(written, "srt")) == 2

    def test_rounding_makes_no_overlap(self) -> None:
        """Cues of less than a millisecond push those that follow."""
        cues = [Cue(position, position + 1, ("a",)) for position in range(3)]

        times = [(start, end) for start, end, _ in read(srt(cues), "srt")]

        assert times == [(0, 1), (1, 2), (2, 3)]

    @pytest.mark.parametrize("name", LONG_TEXTS)
    def test_ffmpeg_reads_the_same_from_both(self, name: str) -> None:
        """Every cue with its time and text."""
        cues = subtitles.cues(speak(LONG_TEXTS[name]))
        expected = [
            (cue.start / SAMPLE_RATE * 1000, cue.end / SAMPLE_RATE * 1000, cue.text)
            for cue in cues
        ]

        from_srt = read(srt(cues), "srt")
        from_vtt = read(vtt(cues), "webvtt")

        assert from_srt == from_vtt
        assert [text for *_, text in from_srt] == [text for *_, text in expected]
        for found, truth in zip(from_srt, expected, strict=True):
            assert found[:2] == pytest.approx(truth[:2], abs=0.5)


def read(written: str, format: str) -> list[tuple[int, int, str]]:
    """Parse subtitles with FFmpeg: start and end in milliseconds, text."""
    found = []
    with av.open(io.BytesIO(written.encode()), "r", format=format) as container:
        for packet in container.demux():
            subtitle: Any
            for subtitle in packet.decode():
                assert packet.pts is not None
                assert packet.duration is not None
                text = subtitle.dialogue.decode()
                found.append((packet.pts, packet.pts + packet.duration, text))
    return found
