"""Keywords: what is written where they were nearly heard, and what never changes."""

from collections.abc import Sequence
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text import ctc, keyword_trie
from text.ctc import Alternatives, FrameLabels, Vocabulary
from text.keyword_path import best_path
from text.keyword_scores import Scores
from text.keyword_trie import Floats
from text.keywords import Speller
from text.phrases import Alphabet, Spelling

SMALL = Vocabulary(("", "a", "b", " "))
UNSPACED = Vocabulary(("", "a", " ", "五", "六"))
WORDS = Vocabulary(("", "", " ", *"abcdefghijklmnopqrstuvwxyz-五六七"))


def full(log_probs: Floats) -> FrameLabels:
    """Label frames with all labels as alternatives; float32, (n_frames, n_labels)."""
    order = np.argsort(-log_probs, axis=1, kind="stable").astype(np.int32)
    ordered = np.take_along_axis(log_probs, order, axis=1).astype(np.float32)
    return FrameLabels(
        order[:, 0],
        np.exp(ordered[:, 0]),
        np.exp(log_probs[:, 0]).astype(np.float32),
        Alternatives(order, ordered),
    )


def said(
    text: str,
    vocabulary: Vocabulary = WORDS,
    *,
    sure: float = 0.9,
    rivals: dict[int, tuple[str, float]] | None = None,
) -> FrameLabels:
    """Say a text letter by letter at even frames, blanks between them.

    Args:
        text: `_` for silence.
        vocabulary: Vocabulary of the model.
        sure: Probability of each letter.
        rivals: By the letter's place: another one, and its probability.
    """
    n_labels = len(vocabulary.texts)
    probs = np.full((2 * len(text), n_labels), 1e-5)
    probs[:, 0] = 0.99
    for place, letter in enumerate(text):
        if letter == "_":
            continue
        row = probs[2 * place]
        row[:] = 1e-5
        row[vocabulary.texts.index(letter)] = sure
        row[0] = 1 - sure - 0.01
        other, prob = (rivals or {}).get(place, ("", 0.0))
        if other:
            row[vocabulary.texts.index(other)] = prob
    return full(np.log(probs / probs.sum(axis=1, keepdims=True)))


def text_of(frames: FrameLabels, vocabulary: Vocabulary = WORDS) -> str:
    return ctc.raw_text(ctc.tokens(frames, vocabulary))


def heard(frames: FrameLabels, *phrases: str, boost: float = 2.5) -> str:
    return text_of(Speller(WORDS, boost=boost).spell(frames, phrases))


# --- the oracle -----------------------------------------------------------------


def score_of(
    labels: Sequence[int],
    scores: Floats,
    best_letter: Sequence[int],
    keywords: Sequence[tuple[Spelling, float]],
    alphabet: Alphabet,
) -> float:
    """Score a label for each frame: what it costs, and the best bonuses it earns.

    Free text may only have each frame's best letter.
    """
    cost = sum(scores[frame, label] for frame, label in enumerate(labels))
    runs: list[tuple[int, bool]] = []  # labels, and whether they may be free text
    frame = 0
    for label, group in groupby(labels):
        n = len(list(group))
        letter = alphabet.kinds[label] == 2
        free = not letter or all(
            best_letter[k] == label for k in range(frame, frame + n)
        )
        frame += n
        if alphabet.kinds[label] != 0:
            runs.append((label, free))
    best = [-np.inf] * (len(runs) + 1)
    best[0] = 0.0

    def apart(index: int) -> bool:
        """Whether a run is a space, or outside."""
        return not 0 <= index < len(runs) or alphabet.kinds[runs[index][0]] == 1

    for k in range(len(runs)):
        if runs[k][1]:
            best[k + 1] = max(best[k + 1], best[k])
        for spelling, bonus in keywords:
            end = k + len(spelling.labels)
            fits = tuple(label for label, _ in runs[k:end]) == spelling.labels
            if (
                fits
                and (apart(k - 1) or spelling.joins_before)
                and (apart(end) or spelling.joins_after)
            ):
                best[end] = max(best[end], best[k] + bonus)
    return float(cost + best[-1])


def brute_force(
    frames: FrameLabels,
    keywords: Sequence[tuple[Spelling, float]],
    alphabet: Alphabet,
) -> float:
    """Return the best score of all label sequences there are."""
    scores, best_letter = relative(frames, alphabet)
    n_labels = len(alphabet.kinds)
    return max(
        score_of(labels, scores, best_letter, keywords, alphabet)
        for labels in product(range(n_labels), repeat=len(frames.ids))
    )


def relative(frames: FrameLabels, alphabet: Alphabet) -> tuple[Floats, list[int]]:
    """Return scores by label, and the best letter of each frame."""
    assert frames.alternatives is not None
    order = frames.alternatives.ids
    log_probs = np.empty(order.shape)
    ordered = frames.alternatives.log_probs.astype(float)
    np.put_along_axis(log_probs, order, ordered, axis=1)
    scores = log_probs - ordered[:, :1]
    letters = np.flatnonzero(alphabet.kinds == 2)
    return scores, [int(letters[k]) for k in scores[:, letters].argmax(axis=1)]


def log_probs(n_labels: int, n_frames: int) -> st.SearchStrategy[Floats]:
    """Give log-probabilities of frames, peaked or flat."""

    def make(seed: int, sharpness: float) -> Floats:
        logits = np.random.default_rng(seed).normal(0, sharpness, (n_frames, n_labels))
        total = np.exp(logits).sum(axis=1, keepdims=True)
        return np.asarray(logits - np.log(total))

    return st.builds(make, st.integers(0, 2**32 - 1), st.floats(0.3, 4))


CASES = [
    (SMALL, 6, [("ab", 2.0), ("a b", 3.0), ("aa", 2.5), ("b", 1.0)]),
    (SMALL, 6, [("abab", 6.0), ("ab", 1.0), ("ba", 1.5)]),
    (UNSPACED, 5, [("五六", 2.0), ("六六", 2.5), ("六", 0.8), ("a", 1.0)]),
    (UNSPACED, 5, [("五六", 1.0), ("六五", 1.0), ("a五", 3.0)]),
]


class TestAgainstAllLabelSequences:
    @settings(max_examples=25, deadline=None)
    @given(st.data())
    @pytest.mark.parametrize(("vocabulary", "longest", "words"), CASES)
    def test_the_path_is_the_best_there_is(
        self,
        vocabulary: Vocabulary,
        longest: int,
        words: list[tuple[str, float]],
        data: st.DataObject,
    ) -> None:
        """Of short clips, against every sequence of labels and all it could mean."""
        alphabet = Alphabet(vocabulary)
        keywords = [
            (spelling, bonus)
            for word, bonus in words
            for spelling in alphabet.spellings(word)
        ]
        n_frames = data.draw(st.integers(1, longest))
        frames = full(data.draw(log_probs(len(vocabulary.texts), n_frames)))
        trie = keyword_trie.build(keywords)

        scores = Scores(frames, alphabet)
        found = best_path(scores, trie)

        wanted = brute_force(frames, keywords, alphabet)
        assert found.score == pytest.approx(wanted, abs=1e-5)
        whole = best_path(scores, trie, prune=False)
        assert whole.score == pytest.approx(wanted, abs=1e-5)

    @settings(max_examples=50, deadline=None)
    @given(st.data())
    @pytest.mark.parametrize(("vocabulary", "longest", "words"), CASES)
    def test_what_is_written_costs_what_the_path_does(
        self,
        vocabulary: Vocabulary,
        longest: int,
        words: list[tuple[str, float]],
        data: st.DataObject,
    ) -> None:
        """The labels that come out are a sequence that is worth the best score."""
        alphabet = Alphabet(vocabulary)
        n_frames = data.draw(st.integers(1, longest))
        frames = full(data.draw(log_probs(len(vocabulary.texts), n_frames)))
        speller = Speller(
            vocabulary, boost=data.draw(st.floats(0.5, 6)), free_letters=1
        )
        phrases = tuple(word for word, _ in words)

        written = speller.spell(frames, phrases)

        keywords = [
            (spelling, speller.bonus(spelling))
            for word in phrases
            for spelling in alphabet.spellings(word)
        ]
        best = best_path(Scores(frames, alphabet), keyword_trie.build(keywords))
        scores, letters = relative(frames, alphabet)
        if (alphabet.kinds[frames.ids] == 2).any():
            score = score_of(written.ids.tolist(), scores, letters, keywords, alphabet)
            assert score == pytest.approx(best.score, abs=1e-4)
        else:
            assert np.array_equal(written.ids, frames.ids)


class TestWithoutKeywords:
    @given(log_probs(len(WORDS.texts), 20), st.sampled_from([(), ("5",), ("ж", "дом")]))
    def test_nothing_changes(self, found: Floats, phrases: tuple[str, ...]) -> None:
        """Without any, and with none that the vocabulary can spell."""
        frames = full(found)

        same = Speller(WORDS).spell(frames, phrases)

        assert same.ids is frames.ids
        assert same.probs is frames.probs
        assert not same.written
        assert same.alternatives is None

    def test_a_boost_of_nothing_switches_them_off(self) -> None:
        """Also the client's own spelling."""
        assert heard(said("six"), "SIX", boost=0) == "six"


class TestWhatIsHeard:
    def test_a_word_that_was_nearly_heard(self) -> None:
        """The model preferred one other letter."""
        frames = said("nane_two", rivals={1: ("i", 0.05)})

        assert text_of(frames) == "nanetwo"
        assert heard(said("nane two", rivals={1: ("i", 0.05)}), "nine") == "nine two"

    def test_a_word_that_was_not(self) -> None:
        """What the model did not hear at all costs more than its bonus."""
        assert heard(said("abcd efgh"), "wxyz") == "abcd efgh"

    def test_a_part_of_a_word_earns_nothing(self) -> None:
        """And a word that contains a keyword is not the keyword."""
        assert heard(said("phone", sure=0.98), "one") == "phone"
        assert heard(said("ninety", sure=0.98), "nine") == "ninety"
        assert heard(said("nin"), "ninety") == "nin"

    def test_one_may_begin_another(self) -> None:
        """The longer one earns more, where it fits."""
        frames = said("livekat", rivals={5: ("i", 0.05)})

        assert heard(frames, "live", "livekit") == "livekit"
        assert heard(said("live kat"), "live", "livekit") == "live kat"

    def test_letters_may_repeat(self) -> None:
        """Two equal labels are two tokens only with a blank between."""
        assert heard(said("aple", rivals={2: ("p", 0.2)}), "apple") in ("aple", "apple")
        assert heard(said("apqle", rivals={2: ("p", 0.04)}), "apple") == "apple"

    def test_a_phrase_may_have_a_pause(self) -> None:
        """Its space is a label like any other; silence around it costs nothing."""
        frames = said("new____ yark", rivals={9: ("o", 0.05)})

        assert heard(frames, "new york") == "new york"

    def test_a_space_is_put_where_it_fits(self) -> None:
        """Two words that the model has run together."""
        frames = said("six_seven", rivals={3: (" ", 0.05)})

        assert heard(frames, "six seven") == "six seven"

    def test_from_the_first_frame_to_the_last(self) -> None:
        """The edges of a window are as good as spaces."""
        probs = np.full((4, len(WORDS.texts)), 1e-5)
        for frame, letter in enumerate("nane"):
            probs[frame, WORDS.texts.index(letter)] = 0.9
        probs[1, WORDS.texts.index("i")] = 0.05
        frames = full(np.log(probs / probs.sum(axis=1, keepdims=True)))

        assert heard(frames, "nine") == "nine"

    def test_letters_before_it_are_silent(self) -> None:
        """What the path leaves out between a space and a keyword is not written."""
        frames = said("a xnine", sure=0.5)

        assert heard(frames, "nine", boost=5) == "a nine"

    def test_silence_brings_no_keyword(self) -> None:
        """Where the model heard nothing it stays so, whatever the boost."""
        rivals = {k: (letter, 0.2) for k, letter in enumerate("nine")}
        frames = said("____")

        assert heard(frames, "nine", boost=50) == ""
        probs = np.full((8, len(WORDS.texts)), 1e-3)
        probs[:, 0] = 0.5
        for place, (letter, prob) in rivals.items():
            probs[2 * place, WORDS.texts.index(letter)] = prob
        unsure = full(np.log(probs / probs.sum(axis=1, keepdims=True)))
        assert heard(unsure, "nine", boost=50) == ""

    def test_a_short_word_is_not_boosted(self) -> None:
        """Of one or two letters, which are nearly heard everywhere."""
        assert heard(said("ax", rivals={1: ("b", 0.08)}), "ab", boost=5) == "ax"

    def test_probabilities_are_the_models(self) -> None:
        """Of a label that was written over another; blanks keep theirs."""
        frames = said("nane", rivals={1: ("i", 0.05)})

        written = Speller(WORDS).spell(frames, ("nine",))

        changed = np.flatnonzero(written.ids != frames.ids)
        assert changed.tolist() == [2]
        assert written.probs[2] == pytest.approx(0.05, rel=0.1)
        kept = np.arange(len(frames.ids)) != 2
        assert np.array_equal(written.probs[kept], frames.probs[kept])
        assert written.blank_probs is frames.blank_probs

    def test_a_rewritten_window_stays_as_it_is(self) -> None:
        """Keywords that are there already are left alone."""
        frames = said("nane two", rivals={1: ("i", 0.05)})
        speller = Speller(WORDS)
        once = speller.spell(frames, ("nine",))
        again = FrameLabels(once.ids, once.probs, once.blank_probs, frames.alternatives)

        assert np.array_equal(speller.spell(again, ("nine",)).ids, once.ids)

    @settings(max_examples=30, deadline=None)
    @given(log_probs(len(WORDS.texts), 30))
    def test_the_best_labels_do_for_all(self, found: Floats) -> None:
        """Sixteen alternatives say what all labels say, where the rest is unlikely."""
        frames = full(np.maximum(found * 3, -8.0))
        assert frames.alternatives is not None
        few = FrameLabels(
            frames.ids,
            frames.probs,
            frames.blank_probs,
            Alternatives(
                frames.alternatives.ids[:, :16], frames.alternatives.log_probs[:, :16]
            ),
        )
        least = frames.alternatives.log_probs[:, 15].min()
        phrases = ("nine", "six seven", "abacus")

        one, other = (Speller(WORDS).spell(own, phrases) for own in (frames, few))

        if least <= -8.0:
            assert np.array_equal(one.ids, other.ids)


class TestScriptsWithoutSpaces:
    def test_a_keyword_may_stand_among_letters(self) -> None:
        """Where there are no spaces to ask for."""
        frames = said("五六五", rivals={1: ("七", 0.08)})

        assert heard(frames, "七五", boost=8) == "五七五"

    def test_equal_characters_at_its_edge_stay_two(self) -> None:
        """A blank lies between, or CTC would make one of them."""
        assert heard(said("六六七"), "六七") == "六六七"

    def test_two_may_follow_each_other(self) -> None:
        """Without anything between."""
        frames = said("五六七五", rivals={1: ("七", 0.1), 2: ("六", 0.1)})

        assert heard(frames, "五七", "六五", boost=9) == "五七六五"


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("labels", "phrase"),
        [
            ("livekit", "LiveKit"),
            ("haagen dazs", "Häagen-Dazs"),
            ("haagen-dazs", "Häagen-Dazs"),
            ("att", "AT&T"),
            ("new york", "New York"),
        ],
    )
    def test_the_clients_own_spelling(self, labels: str, phrase: str) -> None:
        """Wherever it was heard, also where greedily."""
        assert heard(said(f"a {labels} b"), phrase) == f"a {phrase} b"

    def test_also_where_it_is_too_short_to_be_boosted(self) -> None:
        """It was heard as it is."""
        assert heard(said("a tv b"), "TV") == "a TV b"

    def test_a_phrase_without_spaces_is_one_word(self) -> None:
        """However many the labels make of it; it has the times of its frames."""
        frames = Speller(WORDS).spell(said("a haagen dazs b"), ("Häagen-Dazs",))

        words = ctc.words(ctc.tokens(frames, WORDS))

        assert [word.text for word in words] == ["a", "Häagen-Dazs", "b"]
        plain = ctc.words(ctc.tokens(said("a haagen dazs b"), WORDS))
        assert (words[1].start, words[1].end) == (plain[1].start, plain[2].end)

    def test_a_cut_leaves_the_letters_as_they_were_written(self) -> None:
        """Those on each side of it."""
        frames = Speller(WORDS).spell(said("livekit"), ("LiveKit",))

        left, right = frames.part(0, 8), frames.part(8, 14)

        assert (text_of(left), text_of(right)) == ("Live", "Kit")
        assert text_of(ctc.join([left, right])) == "LiveKit"

    def test_an_empty_text_belongs_to_the_token_before(self) -> None:
        """As of a mark that the phrase has in one character with its letter."""
        marks = Vocabulary(("", "a", "\u0308", "b", "c", " "))
        frames = said("a\u0308bc", marks)

        written = Speller(marks).spell(frames, ("äbc",))
        tokens = ctc.tokens(written, marks)

        assert [token.text for token in tokens] == ["ä", "b", "c"]
        assert (tokens[0].first_frame, tokens[0].last_frame) == (0, 2)


class TestLists:
    def test_phrases_that_cannot_be_spelled_are_named(self) -> None:
        """In their order; others are heard all the same."""
        speller = Speller(WORDS)

        assert speller.left_out(("nine", "дом", "Häagen-Dazs", "4you", "!?")) == (
            "дом",
            "4you",
            "!?",
        )
        frames = said("nane", rivals={1: ("i", 0.05)})
        assert text_of(speller.spell(frames, ("дом", "nine"))) == "nine"

    def test_the_first_of_two_that_sound_alike_counts(self) -> None:
        """Clients may list a word twice."""
        assert heard(said("polish"), "Polish", "polish") == "Polish"

    def test_a_long_list_changes_nothing_it_does_not_name(self) -> None:
        """Names of no word that was said."""
        rng = np.random.default_rng(0)
        letters = np.array(list("bcdfghjklmpqrwxz"))
        names = tuple("".join(rng.choice(letters, 7)) for _ in range(500))

        assert heard(said("nine two seven"), *names) == "nine two seven"
