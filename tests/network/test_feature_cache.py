"""What is kept of a live utterance's newest window, and until when."""

import gc

import numpy as np
import torch

from engine.interface import CacheKey, ModelInput, Normalisation
from network.feature_cache import FeatureCache

NORMALISATION = Normalisation(0.0, 0.1)


def window(
    key: CacheKey | None,
    position: int = 0,
    normalisation: Normalisation | None = NORMALISATION,
) -> ModelInput:
    """Make a window of a second, which has 49 frames."""
    return ModelInput(np.zeros(16_000, np.float32), position, normalisation, key)


def features(n_frames: int = 49) -> torch.Tensor:
    """Make features that tell their frame."""
    return torch.arange(n_frames)[:, None]


class TestFeatureCache:
    def test_frames_that_both_windows_have_are_found(self) -> None:
        """Those from the first frame of the new window on."""
        cache, key = FeatureCache(), CacheKey()
        cache.keep(window(key), features())

        found = cache.find(window(key, position=3_200))

        assert found is not None
        assert found.flatten().tolist() == list(range(10, 49))

    def test_the_newest_window_takes_the_place_of_the_last(self) -> None:
        """Memory is bound by the longest window."""
        cache, key = FeatureCache(), CacheKey()
        cache.keep(window(key), features())
        cache.keep(window(key, position=3_200), features(5))

        found = cache.find(window(key, position=3_200))

        assert len(cache) == 1
        assert found is not None
        assert len(found) == 5

    def test_other_utterances_have_their_own(self) -> None:
        """A key finds nothing of another."""
        cache, key = FeatureCache(), CacheKey()
        cache.keep(window(key), features())

        assert cache.find(window(CacheKey())) is None

    def test_nothing_is_kept_without_a_key_or_a_normalisation(self) -> None:
        """Windows of recordings stand for themselves."""
        cache, key = FeatureCache(), CacheKey()
        cache.keep(window(None), features())
        cache.keep(window(key, normalisation=None), features())

        assert len(cache) == 0

    def test_features_are_forgotten_with_their_key(self) -> None:
        """The model needs no call when an utterance is over."""
        cache, key = FeatureCache(), CacheKey()
        cache.keep(window(key), features())

        del key
        gc.collect()

        assert len(cache) == 0
