"""Phrases as people write them, spelled with the labels that a model has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.ctc import Vocabulary
from text.phrases import Alphabet, Kind, dealt_out, tidy

SMALL = Alphabet(Vocabulary(("", " ", *"abcdefghijklmnopqrstuvwxyz")))
WRITTEN = Alphabet(Vocabulary(("", " ", *"aäbdikltvABKLTV-'.", "\u0308")))
PIECES = Alphabet(Vocabulary(("", " ", "l", "i", "li", "ve", "v", "e")))


def spelled(alphabet: Alphabet, phrase: str) -> list[str]:
    texts = alphabet.vocabulary.texts
    return [
        "".join(texts[label] for label in spelling.labels)
        for spelling in alphabet.spellings(phrase)
    ]


class TestSpellings:
    def test_cases_are_tried_that_the_vocabulary_has(self) -> None:
        """As given, in small letters, and as the beginning of a sentence."""
        assert spelled(WRITTEN, "LaiB taB") == ["LaiB taB", "laib tab", "Laib Tab"]
        assert spelled(SMALL, "LiveKit") == ["livekit"]

    def test_marks_may_be_labels_of_their_own(self) -> None:
        """Or one with their letter: both are heard."""
        assert spelled(WRITTEN, "bäd")[:2] == ["bäd", "ba\u0308d"]

    @pytest.mark.parametrize(
        ("phrase", "plain"),
        [
            ("Häagen-Dazs", "haagen dazs"),
            ("AT&T", "att"),
            ("Straße", "strasse"),
            ("Dr. Who?", "dr who"),
            ("x\u030c-ray", "x ray"),
        ],
    )
    def test_what_it_lacks_is_left_out(self, phrase: str, plain: str) -> None:
        """Marks and punctuation are; a hyphen is a space."""
        assert spelled(SMALL, phrase) == [plain]

    @pytest.mark.parametrize("phrase", ["4you", "дом", "五", "!?", "", " "])
    def test_letters_and_numbers_are_not_left_out(self, phrase: str) -> None:
        """Without them it would be another word."""
        assert not SMALL.can_spell(phrase)
        assert spelled(SMALL, phrase) == []

    def test_the_fewest_labels_are_taken(self) -> None:
        """Of vocabularies whose labels are more than characters."""
        (spelling,) = PIECES.spellings("Live")

        assert [PIECES.vocabulary.texts[k] for k in spelling.labels] == ["li", "ve"]
        assert spelling.texts == ("Li", "ve")

    def test_what_can_be_spelled_is_known_without_spelling_it(self) -> None:
        """The two never differ."""
        for phrase in ("LiveKit", "Häagen-Dazs", "дом", "new  york", "a.b", "a\nb"):
            assert SMALL.can_spell(phrase) is bool(SMALL.spellings(phrase))

    def test_syllables_count_more_than_letters(self) -> None:
        """A character of Han says more than one of an alphabet."""
        han = Alphabet(Vocabulary(("", "五", "六", "a", " ")))

        assert [own.n_letters for own in han.spellings("五六")] == [3.0]
        assert [own.n_letters for own in han.spellings("a a")] == [2.0]


class TestKinds:
    def test_words_end_at_spaces_and_punctuation(self) -> None:
        """And nowhere else; a mark belongs to its letter."""
        kinds = dict(zip(WRITTEN.vocabulary.texts, WRITTEN.kinds, strict=True))

        assert kinds[""] == Kind.SILENT
        assert kinds[" "] == kinds["-"] == kinds["."] == Kind.BOUNDARY
        assert kinds["ä"] == kinds["\u0308"] == Kind.LETTER


class TestDealtOut:
    @pytest.mark.parametrize(
        ("phrase", "texts", "parts"),
        [
            ("LiveKit", list("livekit"), list("LiveKit")),
            ("AT&T", list("att"), ["A", "T&", "T"]),
            ("ä", ["a", "\u0308"], ["ä", ""]),
            ("«a»", ["a"], ["«a»"]),
            ("ß", ["s", "s"], ["ß", ""]),
        ],
    )
    def test_equal_characters_meet(
        self, phrase: str, texts: list[str], parts: list[str]
    ) -> None:
        """What is between goes with the one before, at the beginning with the next."""
        assert dealt_out(phrase, texts) == parts

    @given(
        st.text(min_size=1, max_size=12).map(tidy).filter(bool),
        st.lists(st.text("abAB \u0308", min_size=1, max_size=2), min_size=1),
    )
    def test_nothing_is_lost(self, phrase: str, texts: list[str]) -> None:
        """Joined, the parts are the phrase, whatever it is spelled with."""
        parts = dealt_out(phrase, texts)

        assert "".join(parts) == phrase
        assert len(parts) == len(texts)
