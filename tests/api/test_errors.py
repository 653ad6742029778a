"""Every exception that a part raises has its line in the one table."""

import inspect
from types import ModuleType

import pytest

from api.errors import REFUSALS, BadRequest, error_body, refusal_of, refusal_response
from audio import decoder
from engine import interface
from engine.interface import NotReady, QueueFull, WaitedTooLong
from schemas import UNKNOWN_TEXT


def exceptions_of(module: ModuleType) -> set[type[Exception]]:
    """What a module offers to be caught."""
    return {
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ in (module.__name__, "audio.timeline")
    }


class TestTable:
    @pytest.mark.parametrize("module", [decoder, interface])
    def test_it_knows_what_each_part_raises(self, module: ModuleType) -> None:
        """A new exception without a line would be a 500; errors of models are."""
        raised = {
            own
            for own in exceptions_of(module)
            if not issubclass(own, interface.ModelError)
        }

        assert raised
        assert raised <= set(REFUSALS)

    @pytest.mark.parametrize(
        ("error", "status", "seconds"),
        [
            (QueueFull("7 others", retry_after_s=7), 503, "7"),
            (WaitedTooLong("late"), 503, "5"),
            (NotReady("loading"), 503, "5"),
            (BadRequest("no", status=413), 413, None),
        ],
    )
    def test_what_passes_by_itself_says_when_to_come_back(
        self, error: Exception, status: int, seconds: str | None
    ) -> None:
        """And what does not, does not."""
        response = refusal_response(error)

        assert response.status_code == status
        assert response.headers.get("retry-after") == seconds
        milliseconds = f"{seconds}000" if seconds else None
        assert response.headers.get("retry-after-ms") == milliseconds

    def test_what_nobody_expected_keeps_its_details_to_the_log(self) -> None:
        """In mid-stream, too."""
        message, refusal = refusal_of(OSError("/etc/secret"))

        assert error_body(message, refusal)["error"] == {
            "message": UNKNOWN_TEXT,
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
