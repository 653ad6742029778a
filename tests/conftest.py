"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from model import ASRModel
from tests.support.serving import ServerProcess, server_process

# Have environments of their own; see agents.in, ray.in and transformers.in in
# requirements/.
collect_ignore = ["agents", "ray", "transformers"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def demo_model() -> ASRModel:
    """The bundled model in float32 on the CPU, where results are exact."""
    return ASRModel.load("omniASR_CTC_demo", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server, in a process of its own, with the bundled model."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with server_process(log, MODEL_CARD="omniASR_CTC_demo", DTYPE="float32") as server:
        server.wait_until_ready()
        yield server
