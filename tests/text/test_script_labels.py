"""Which labels a set of scripts leaves."""

from text.ctc import Vocabulary
from text.script_labels import allowed_labels


class TestAllowedLabels:
    def test_other_scripts_are_left_out(self) -> None:
        """Blank and control symbols stay, and so does what all scripts share."""
        vocabulary = Vocabulary(("", " ", "a", "я", "न", "1", "", "é", "ab", "aя"))

        allowed = allowed_labels(vocabulary, frozenset({"Latn"}))

        assert allowed.tolist() == [0, 1, 2, 5, 6, 7, 8]

    def test_scripts_add_up(self) -> None:
        """A list of languages allows the letters of all of them."""
        vocabulary = Vocabulary(("", "a", "я", "न"))

        allowed = allowed_labels(vocabulary, frozenset({"Cyrl", "Deva"}))

        assert allowed.tolist() == [0, 2, 3]
