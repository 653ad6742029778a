"""Requests to every route, drawn from the server's own description of itself.

Whatever is sent, each answer is one that the description has: its status, its type, its
headers and its body; and none is the server's fault.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.effort import REQUESTS
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import settings as server_settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(server_settings(), ScriptedModel) as served:
        yield served


def test_answers_are_as_described(url: str, subtests: pytest.Subtests) -> None:
    """Always to the same requests."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @settings(
            max_examples=REQUESTS,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(checks=CHECKS)

        with subtests.test(operation.label):
            ask()
