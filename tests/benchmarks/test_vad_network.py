"""The comparison of the networks of voice activity detection."""

import numpy as np
import pytest

from benchmarks.vad_network import Network, measure, networks


@pytest.fixture(scope="module")
def found() -> dict[str, Network]:
    return networks()


@pytest.mark.parametrize(("n_streams", "n_frames"), [(1, 1), (3, 1), (2, 5)])
def test_all_networks_find_the_same(
    found: dict[str, Network], n_streams: int, n_frames: int
) -> None:
    """The package's own, too, from the first frame of a stream on."""
    times = measure(found, n_streams, n_frames, rounds=1)

    assert {"ours", "TorchScript"} <= set(times)
    assert all(us > 0 for us in times.values())


def test_a_network_that_finds_something_else_is_refused(
    found: dict[str, Network],
) -> None:
    """Its time would be that of another computation."""
    wrong = {**found, "wrong": lambda frames: np.zeros(frames.shape[:2], np.float32)}

    with pytest.raises(SystemExit, match="wrong differs"):
        measure(wrong, 1, 1, rounds=1)
