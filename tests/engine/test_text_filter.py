"""An operator's filter may be slow, fail or hang; texts are not held up or lost."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, TypeVar

import pytest

from engine import text_filter
from engine.text_filter import (
    ENTRY_POINTS,
    FilterUnavailable,
    Outcome,
    TextFilter,
    load_filter,
)
from tests.text.test_written_form import words_of
from text.transcript import Segment

T = TypeVar("T")

LONG_S = 30.0  # longer than any test


def segment(text: str) -> Segment:
    return Segment(words_of(text), (), -0.1, 0.0)


class Counts:
    """Counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def text_filtered(self, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def may_end() -> Iterator[threading.Event]:
    """A filter that hangs waits for this; the test's end lets it go."""
    event = threading.Event()
    yield event
    event.set()


def run(
    function: Callable[[str], str],
    counts: Counts,
    use: Callable[[TextFilter], Coroutine[Any, Any, T]],
    *,
    deadline_s: float = LONG_S,
) -> T:
    own = TextFilter(function, deadline_s=deadline_s, observer=counts)
    try:
        return asyncio.run(use(own))
    finally:
        own.close()


def texts(segments: tuple[Segment, ...]) -> list[tuple[str, str | None]]:
    return [(own.text, own.raw) for own in segments]


class TestTexts:
    def test_finals_and_recordings_are_written(self, counts: Counts) -> None:
        """Each segment by itself; the original stays."""
        spoken = (segment("one two"), segment("three"))

        async def use(own: TextFilter) -> list[tuple[Segment, ...]]:
            return [await own.write_final(spoken), await own.write_recording(spoken)]

        for found in run(lambda text: f"{text.title()}.", counts, use):
            assert texts(found) == [("One Two.", "one two"), ("Three.", "three")]
            assert [word.start for word in found[0].words] == [0, 2000]
        assert counts.outcomes == [Outcome.DONE] * 4

    @pytest.mark.parametrize("answer", ["", "  ", None, 5])
    def test_what_is_no_text_changes_nothing(
        self, counts: Counts, answer: object
    ) -> None:
        """No text is lost."""
        found = run(
            lambda text: answer,  # type: ignore[arg-type, return-value]
            counts,
            lambda own: own.write_final((segment("one two"),)),
        )

        assert texts(found) == [("one two", "one two")]
        assert counts.outcomes == [Outcome.FAILED]

    @pytest.mark.parametrize("error", [ValueError("secret words"), SystemExit(1)])
    def test_an_error_changes_nothing(
        self, counts: Counts, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next text is tried again; the log says so, but nothing of the text."""
        failures = [error]

        def fail_once(text: str) -> str:
            if failures:
                raise failures.pop()
            return text.upper()

        async def use(own: TextFilter) -> list[tuple[Segment, ...]]:
            return [await own.write_final((segment("one"),)) for _ in range(2)]

        with caplog.at_level("INFO"):
            first, second = run(fail_once, counts, use)

        assert (texts(first), texts(second)) == ([("one", "one")], [("ONE", "one")])
        assert counts.outcomes == [Outcome.FAILED, Outcome.DONE]
        assert "failed" in caplog.text
        assert "works again" in caplog.text
        assert "secret" not in caplog.text


class TestDeadline:
    def test_a_filter_that_hangs_holds_up_nothing(
        self, counts: Counts, may_end: threading.Event
    ) -> None:
        """One text waits for the deadline, the others not at all; then it goes on."""

        def hang(text: str) -> str:
            assert may_end.wait(LONG_S)
            return text.upper()

        async def use(own: TextFilter) -> list[str]:
            found = [(await own.write_final((segment("one"),)))[0].text]
            found += [
                (await write((segment("two"),)))[0].text
                for write in (own.write_final, own.write_recording)
            ]
            may_end.set()
            while found[-1] != "THREE":
                found.append((await own.write_final((segment("three"),)))[0].text)
                await asyncio.sleep(0)
            return found

        found = run(hang, counts, use, deadline_s=0.2)

        assert found[:3] == ["one", "two", "two"]
        assert found[-1] == "THREE"
        assert counts.outcomes[:3] == [Outcome.SLOW, Outcome.SKIPPED, Outcome.SKIPPED]
        assert counts.outcomes[-1] is Outcome.DONE

    def test_a_recording_behind_a_hanging_call_goes_on(
        self, counts: Counts, may_end: threading.Event
    ) -> None:
        """Its own call never began."""

        def hang(text: str) -> str:
            assert may_end.wait(LONG_S)
            return text

        async def use(own: TextFilter) -> list[tuple[Segment, ...]]:
            both = (
                own.write_recording((segment(text),)) for text in ("first", "second")
            )
            return list(await asyncio.gather(*both))

        first, second = run(hang, counts, use, deadline_s=0.1)

        assert (first[0].text, second[0].text) == ("first", "second")
        assert sorted(counts.outcomes) == [Outcome.SKIPPED, Outcome.SLOW]

    def test_finals_go_before_recordings(
        self, counts: Counts, may_end: threading.Event
    ) -> None:
        """A recording has many texts, and a client waits for a final."""
        order: list[str] = []
        began = threading.Event()

        def note(text: str) -> str:
            order.append(text)
            began.set()
            assert may_end.wait(LONG_S)
            return text

        async def use(own: TextFilter) -> None:
            first = asyncio.ensure_future(own.write_recording((segment("a"),)))
            await asyncio.to_thread(began.wait, LONG_S)
            others = [
                asyncio.ensure_future(own.write_recording((segment("b"),))),
                asyncio.ensure_future(own.write_final((segment("final"),))),
            ]
            await asyncio.sleep(0)
            may_end.set()
            await asyncio.gather(first, *others)

        run(note, counts, use)

        assert order == ["a", "final", "b"]

    def test_a_client_that_leaves_takes_its_text_along(
        self, counts: Counts, may_end: threading.Event
    ) -> None:
        """A text that nobody waits for is not given to the filter."""
        order: list[str] = []

        def note(text: str) -> str:
            order.append(text)
            assert may_end.wait(LONG_S)
            return text

        async def use(own: TextFilter) -> None:
            first = asyncio.ensure_future(own.write_final((segment("a"),)))
            left = asyncio.ensure_future(own.write_final((segment("b"),)))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            may_end.set()
            await first

        run(note, counts, use)

        assert order == ["a"]

    def test_after_the_end_texts_stay_as_they_are(self, counts: Counts) -> None:
        """The server stops, and finals still come."""

        async def use(own: TextFilter) -> tuple[Segment, ...]:
            own.close()
            return await own.write_final((segment("one"),))

        assert run(str.upper, counts, use)[0].text == "one"
        assert counts.outcomes == [Outcome.SKIPPED]


class TestLoading:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "own_filters.py").write_text(
            "class Loud:\n"
            "    def write(self, text):\n"
            "        return text.upper()\n"
            "loud = Loud()\n"
            "def broken(text):\n"
            "    raise OSError('no disk')\n"
            "def number(text):\n"
            "    return 5\n"
            "limit = 3\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        yield
        sys.modules.pop("own_filters", None)

    def test_a_function_of_a_module(self) -> None:
        """Or a method of an object in it."""
        assert load_filter("own_filters:loud.write")("one") == "ONE"

    def test_an_entry_point_of_a_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its name alone."""
        entry = EntryPoint("loud", "own_filters:loud.write", ENTRY_POINTS)
        monkeypatch.setattr(
            text_filter,
            "entry_points",
            lambda group: EntryPoints([entry] if group == ENTRY_POINTS else []),
        )

        assert load_filter("loud")("one") == "ONE"
        with pytest.raises(FilterUnavailable, match="installed are: loud"):
            load_filter("quiet")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no_such_module:write", "No module named 'no_such_module'"),
            ("own_filters:no_such", "no_such"),
            ("own_filters:limit", "is not a function"),
            ("own_filters:broken", "no disk"),
            ("own_filters:number", "returns int"),
            ("quiet", "installed are: none"),
        ],
    )
    def test_what_cannot_be_used(self, name: str, message: str) -> None:
        """Says so when the server starts, by the name of the setting."""
        with pytest.raises(FilterUnavailable, match=message) as error:
            load_filter(name)

        assert f"TEXT_FILTER={name}" in str(error.value)
