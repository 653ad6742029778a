"""What is said before the server starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from api.startup import port_taken, unknown_card
from tests.support.serving import ROOT


def start(**settings: str) -> subprocess.CompletedProcess[str]:
    """Start the server, which is expected to end at once."""
    return subprocess.run(
        [sys.executable, ROOT / "server.py"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_unknown_card_is_told_before_pytorch_is_imported() -> None:
    """With names that are near, and all there are."""
    ended = start(MODEL_CARD="omniASR_CTC_30OM", PORT="0")

    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "MODEL_CARD=omniASR_CTC_30OM: There is no model card"
    )
    assert "Did you mean omniASR_CTC_300M" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_one_line() -> None:
    """That names the setting, and this process."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = start(MODEL_CARD="omniASR_CTC_demo", HOST="127.0.0.1", PORT=str(port))

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"PORT={port} is taken by ")
    assert "set PORT to another" in line


def test_a_free_port_and_a_known_card_are_no_problem() -> None:
    """Nor is a port that the system chooses."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

    assert port_taken("127.0.0.1", port) is None
    assert port_taken("127.0.0.1", 0) is None
    assert unknown_card("omniASR_CTC_demo", None) is None


def test_a_card_of_ones_own_is_known(tmp_path: Path) -> None:
    """In MODEL_DIR."""
    (tmp_path / "own.yaml").write_text(
        "name: mine\nmodel_family: wav2vec2_asr\ncheckpoint: mine.pt\n"
    )

    assert unknown_card("mine", tmp_path) is None
    assert "mine" in (unknown_card("other", tmp_path) or "")
