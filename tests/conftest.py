"""Fixtures that several test files share.

With SERVER_URL set, only the tests run that need nothing but the demo model's server,
and they find it at that address.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from model import ASRModel
from tests.support.serving import ROOT, ServerProcess, server_at, server_process

# Have environments of their own; see agents.in, ray.in and transformers.in in
# requirements/.
collect_ignore = ["agents", "ray", "transformers"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


_ADDRESS = os.environ.get("SERVER_URL")

# These take longest, so they come first: processes that share the tests then end at
# about the same time.
_LONG = {"benchmarks", "client", "conformance", "fuzz", "repository", "scale", "web"}


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what cannot be seen through an address; begin with what takes long."""
    left_out = [item for item in items if not _can_run(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    tests = ROOT / "tests"
    items.sort(key=lambda item: item.path.relative_to(tests).parts[0] not in _LONG)


def _can_run(item: pytest.Item) -> bool:
    behind_others = _ADDRESS or ROOT / "tests" / "scale" in item.path.parents
    if behind_others and item.get_closest_marker("one_process"):
        return False
    return not _ADDRESS or "demo_server" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def demo_model() -> ASRModel:
    """The bundled model in float32 on the CPU, where results are exact."""
    return ASRModel.load("omniASR_CTC_demo", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server, in a process of its own, with the bundled model."""
    if _ADDRESS:
        yield server_at(_ADDRESS)
        return
    log = tmp_path_factory.mktemp("server") / "server.log"
    with server_process(log, MODEL_CARD="omniASR_CTC_demo", DTYPE="float32") as server:
        server.wait_until_ready()
        yield server
