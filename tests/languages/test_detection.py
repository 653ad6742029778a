"""What a client says about languages, and what a text shows about its own."""

import os
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from languages import words
from languages.catalogue import BY_ID
from languages.detection import Detected, detect
from languages.hints import MAX_LISTED, Hints, TooManyLanguages, read_hints
from languages.scripts import SCRIPT_SAMPLE, main_script, scripts_of, writer


def says(**probabilities: float) -> Mapping[str, float]:
    return probabilities


def nothing(text: str) -> Mapping[str, float]:
    """What the words show without the library."""
    return {}


class TestHints:
    def test_one_language_is_a_label(self) -> None:
        """It restricts nothing: stock clients send `en` for everything."""
        hints = read_hints("en")

        assert hints == Hints(label="eng_Latn")
        assert not hints.scripts

    def test_one_language_restricts_if_the_operator_says_so(self) -> None:
        """With LANGUAGE_STRICT it counts as a list of one."""
        hints = read_hints("hi", strict=True)

        assert hints == Hints(label="hin_Deva", listed=("hin_Deva",))
        assert hints.scripts == {"Deva"}

    def test_a_list_restricts_to_the_scripts_of_all_its_languages(self) -> None:
        """They add up; Latin is not added by itself."""
        hints = read_hints(None, ["hi", "en", "hi", "mr"])

        assert hints.listed == ("hin_Deva", "eng_Latn", "mar_Deva")
        assert hints.scripts == {"Deva", "Latn"}
        assert hints.label is None

    def test_a_label_and_a_list_go_together(self) -> None:
        """The label names the answer, the list restricts it."""
        hints = read_hints("en", ["hi"], strict=True)

        assert hints.label == "eng_Latn"
        assert hints.scripts == {"Deva"}

    @pytest.mark.parametrize("entry", ["auto", "", "und", "mul", "multi"])
    def test_an_entry_for_any_language_allows_all(self, entry: str) -> None:
        """Such a list must not forbid what its client wants."""
        assert not read_hints(None, ["en", entry]).scripts

    def test_unknown_codes_are_set_aside(self) -> None:
        """They restrict nothing and label nothing; the caller refuses or ignores."""
        hints = read_hints("xx", ["en", "qq"])

        assert hints.label is None
        assert hints.listed == ("eng_Latn",)
        assert hints.unknown_label is not None
        assert [error.code for error in hints.unknown] == ["qq"]
        assert [error.code for error in read_hints("xx", strict=True).unknown] == ["xx"]

    def test_a_list_is_bounded(self) -> None:
        """The error says how many are allowed."""
        read_hints(None, ["en"] * MAX_LISTED)
        with pytest.raises(TooManyLanguages, match="at most 100"):
            read_hints(None, ["en"] * (MAX_LISTED + 1))

    def test_what_whispers_clients_send_means_something(self) -> None:
        """Two of its hundred languages are unknown here and mean the nearest."""
        assert read_hints("nn").label == "nob_Latn"
        assert read_hints("sa").label == "hin_Deva"
        assert read_hints("nn").unknown_label is None


class TestWriting:
    @pytest.mark.parametrize(
        ("languages", "can", "cannot"),
        [
            (["en"], "aéßĳ 1.,?'-", "нन你ก।"),
            (["hi"], "नमस्ते।॥ \u09661\u200d'-", "aн你ต"),
            (["ja"], "漢かカー。 1", "a한н"),
            (["ko"], "한漢 1", "aかн"),
            (["zh"], "汉ㄅ 1", "aか한"),
            (["ru", "en"], "яa 1", "न你α"),
            (["th"], "สวัสดี 1", "aລ"),
            (["ar"], "مرحبا، 1", "aש"),
        ],
    )
    def test_letters_of_other_scripts_cannot_be_written(
        self, languages: list[str], can: str, cannot: str
    ) -> None:
        """Spaces, ASCII digits, marks and shared punctuation always can."""
        can_write = writer(read_hints(None, languages).scripts)

        assert can_write(can)
        assert [letter for letter in cannot if can_write(letter)] == []

    @given(st.sampled_from(sorted(BY_ID)))
    def test_any_language_can_be_written(self, language_id: str) -> None:
        """There is a pattern for each script; control symbols write nothing."""
        can_write = writer(scripts_of([language_id]))

        assert can_write("")
        assert can_write(" '1")


class TestMainScript:
    def test_it_has_a_share(self) -> None:
        """Digits and spaces do not count."""
        assert main_script("abc 123 я") == ("Latn", 0.75)
        assert main_script("42") == (None, 0.0)


class TestWithHints:
    @pytest.mark.parametrize("text", ["", "good morning", "доброе утро", "你好"])
    def test_the_clients_label_is_kept(self, text: str) -> None:
        """Also where the text is in another script; it is no finding."""
        found = detect(text, Hints(label="fra_Latn"), default="eng_Latn")

        assert found.language == "fra_Latn"
        assert found.probability is None
        assert found.tag == "fr"

    def test_a_list_of_one_is_a_label(self) -> None:
        """Unless the text shows that it is wrong."""
        hints = read_hints(None, ["de"])

        assert detect("guten Morgen", hints) == Detected("deu_Latn", "Latn")
        assert detect("", hints).language == "deu_Latn"
        assert detect("доброе утро", hints) == Detected(None, "Cyrl")

    def test_the_script_decides_between_listed_languages(self) -> None:
        """Nothing else is needed if it is the script of only one of them."""
        hints = read_hints(None, ["en", "hi", "zh"])

        assert detect("नमस्ते", hints) == Detected("hin_Deva", "Deva", 1.0)
        assert detect("你好", hints) == Detected("cmn_Hans", "Hani", 1.0)
        assert detect("hello", hints, identify=nothing).language == "eng_Latn"

    def test_words_decide_between_listed_languages_of_one_script(self) -> None:
        """However few they are: one of the list it is. The others do not count."""
        found = detect(
            "eins",
            read_hints(None, ["en", "de"]),
            identify=lambda text: says(nl=0.9, de=0.06, en=0.02),
        )

        assert (found.language, found.script) == ("deu_Latn", "Latn")
        assert found.probability == pytest.approx(0.75)

    def test_a_listed_language_unknown_to_the_library_is_not_outvoted(self) -> None:
        """Bambara has no probability; French has to be sure by itself."""
        hints = read_hints(None, ["bm", "fr"])

        unsure = detect("i ni ce", hints, identify=lambda text: says(fr=0.4, en=0.3))
        sure = detect("bonjour à tous", hints, identify=lambda text: says(fr=0.9))

        assert unsure == Detected(None, "Latn")
        assert sure == Detected("fra_Latn", "Latn", 0.9)

    def test_without_the_library_a_script_of_several_is_left_open(self) -> None:
        """The script is known all the same."""
        hints = read_hints(None, ["en", "de"])

        assert detect("eins zwei", hints, identify=nothing) == Detected(None, "Latn")
        assert detect("12", hints, identify=nothing) == Detected()


class TestWithoutHints:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("東京へ行く", "jpn_Jpan"),
            ("안녕하세요", "kor_Hang"),
            ("ਸਤ ਸ੍ਰੀ ਅਕਾਲ", "pan_Guru"),
            ("ನಮಸ್ಕಾರ", "kan_Knda"),
            ("ສະບາຍດີ", "lao_Laoo"),
            ("ආයුබෝවන්", "sin_Sinh"),
            ("ދިވެހި", "div_Thaa"),
        ],
    )
    def test_a_script_of_one_language_names_it(self, text: str, expected: str) -> None:
        """A script that only one listed language uses is evidence enough."""
        found = detect(text, default="eng_Latn", identify=nothing)

        assert found.language == expected
        assert found.probability == 1.0

    @pytest.mark.parametrize(
        "text", ["good morning", "доброе утро", "नमस्ते", "สวัสดี", "مرحبا", "你好", "ᏣᎳᎩ"]
    )
    def test_a_script_of_several_names_none(self, text: str) -> None:
        """Nothing is made up; the script is known."""
        found = detect(text, default="kor_Hang", identify=nothing)

        assert found.language is None
        assert found.probability is None
        assert found.script is not None

    def test_words_name_a_language_if_they_are_sure(self) -> None:
        """Four of them, and a probability of 0.8."""
        text = "das Wetter wird morgen"

        sure = detect(text, identify=lambda text: says(de=0.8, nl=0.1))
        unsure = detect(text, identify=lambda text: says(de=0.79, nl=0.1))
        short = detect("das Wetter wird", identify=lambda text: says(de=1.0))

        assert sure == Detected("deu_Latn", "Latn", 0.8)
        assert unsure.language is None
        assert short.language is None

    @pytest.mark.parametrize(
        ("text", "n_words"), [("今天天气", 4), ("今天天", 3), ("พรุ่งนี้อากาศจะดีมากครับ", 4)]
    )
    def test_words_are_counted_where_there_are_no_spaces(
        self, text: str, n_words: int
    ) -> None:
        """A Chinese character is a word, five letters of Thai are one."""
        code = "th" if text[0] > "\u0dff" and text[0] < "\u0fff" else "zh"

        found = detect(text, identify=lambda text: {code: 0.9})

        assert (found.language is not None) == (n_words >= 4)

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("one two three four", "ru"),  # which is not written in Latin here
            ("one two three four", "zxx"),  # no language
            ("nei det var ikke meg", "nn"),  # which has no entry of its own
            ("एक दो तीन चार", "sa"),
        ],
    )
    def test_words_name_no_language_that_is_not_there(
        self, text: str, code: str
    ) -> None:
        """Neither one of another script, nor a relative."""
        assert detect(text, identify=lambda text: {code: 1.0}).language is None

    @pytest.mark.parametrize(
        ("text", "default"),
        [
            ("good morning", "eng_Latn"),
            ("доброе утро", "rus_Cyrl"),
            ("नमस्ते", "hin_Deva"),
            ("你好", "cmn_Hant"),
            ("東京", "jpn_Jpan"),
            ("ladin", "lld_Latn_gherd"),
        ],
    )
    def test_the_operators_default_is_last(self, text: str, default: str) -> None:
        """It is no finding, and the words go before it."""
        found = detect(text, default=default, identify=nothing)

        assert found.language == default
        assert found.probability is None

    @pytest.mark.parametrize("text", ["", "42", "abc где"])
    def test_text_without_a_script_names_none(self, text: str) -> None:
        """The default is no answer for text that shows nothing."""
        assert detect(text, default="eng_Latn") == Detected()
        assert detect(text).tag is None

    @given(st.text(), st.sampled_from([(), ("eng_Latn", "hin_Deva"), ("cmn_Hans",)]))
    def test_any_text_is_answered(self, text: str, listed: tuple[str, ...]) -> None:
        """The language is in the catalogue, and of the list if there is one."""
        found = detect(text, Hints(listed=listed))

        assert found.language is None or found.language in (listed or BY_ID)
        assert found.probability is None or 0 <= found.probability <= 1

    def test_only_a_part_of_a_long_text_counts(self) -> None:
        """Hours of text cost no more than minutes."""
        seen: list[int] = []

        def identify(text: str) -> Mapping[str, float]:
            seen.append(len(text))
            return {}

        detect("word " * SCRIPT_SAMPLE, identify=identify)

        assert seen == [SCRIPT_SAMPLE]


class TestLibrary:
    """py3langid itself, where it is installed: in the light environment."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        if not words.probabilities("good morning"):
            assert "LIGHT" not in os.environ, "the light environment has it"
            pytest.skip("py3langid is not installed: it needs numpy 2")

    @pytest.mark.parametrize(
        ("text", "tag"),
        [
            ("the train to the city leaves at nine in the morning", "en"),
            ("der Zug in die Stadt fährt um neun Uhr morgens ab", "de"),
            ("el tren a la ciudad sale a las nueve de la mañana", "es"),
            ("शहर जाने वाली गाड़ी सुबह नौ बजे निकलती है", "hi"),
            ("去城里的火车早上九点开", "zh"),
        ],
    )
    def test_sentences_are_named(self, text: str, tag: str) -> None:
        """With a probability, and without any hint."""
        found = detect(text)

        assert found.tag == tag
        assert found.probability is not None
        assert found.probability >= 0.8

    def test_a_single_word_is_only_named_with_a_list(self) -> None:
        """It is too short to be told from 140 languages."""
        assert detect("sieben").language is None
        assert detect("sieben", read_hints(None, ["en", "de", "es"])).tag == "de"
