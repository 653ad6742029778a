"""docs/deepgram.md says what the doors do: parameters, thresholds, close codes."""

import re

import pytest

from audio.samples import SAMPLE_RATE
from protocols.actions import CloseCode
from protocols.deepgram.messages import MAX_MESSAGE_CHARS
from protocols.deepgram.table import PARAMETERS, Treatment
from protocols.deepgram.thresholds import Thresholds
from tests.repository.test_protocol_document import rows
from tests.support.serving import ROOT

TEXT = (ROOT / "docs" / "deepgram.md").read_text()


def test_the_table_of_parameters_is_the_one_that_is_used() -> None:
    """Each, at each door."""
    written = {name.strip("`"): cells for name, *cells in rows(TEXT, "## Parameters")}

    assert written == {
        name: [
            "" if treatment is Treatment.UNKNOWN else treatment.value
            for treatment in treatments
        ]
        for name, treatments in PARAMETERS.items()
    }


@pytest.mark.parametrize("row", rows(TEXT, "## Turns")[:5])
def test_the_curve_is_the_one_that_is_used(row: list[str]) -> None:
    """Point by point."""
    confidence = float(re.match(r"[\d.]+", row[0])[0])  # type: ignore[index]
    number, unit = re.match(r"(\d+) (ms|s)", row[1]).groups()  # type: ignore[union-attr]
    silence_ms = int(number) * (1 if unit == "ms" else 1000)

    thresholds = (
        Thresholds(eot_threshold=confidence)
        if confidence >= 0.5
        else Thresholds(eager_eot_threshold=confidence)
    )
    found = (
        thresholds.endpoint_silence if confidence >= 0.5 else thresholds.eager_silence
    )
    assert found == silence_ms * SAMPLE_RATE // 1000


def test_close_codes_exist() -> None:
    """By RFC 6455 and IANA."""
    codes = [int(code) for code, *_ in rows(TEXT, "## Errors")]

    assert codes == sorted(codes)
    assert {CloseCode(code) for code in codes} == {
        CloseCode.NORMAL_CLOSURE,
        CloseCode.GOING_AWAY,
        CloseCode.POLICY_VIOLATION,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
    }


def test_the_longest_message() -> None:
    """In characters."""
    assert f"{MAX_MESSAGE_CHARS:,} characters" in TEXT
