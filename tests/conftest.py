"""Fixtures that several test files share."""

import pytest

import cards
from model import ASRModel

# Tests import fairseq2 themselves, which wants the library to be there already.
cards.preload_libsndfile()


@pytest.fixture(scope="session")
def demo_model() -> ASRModel:
    """The bundled model in float32 on the CPU, where results are exact."""
    return ASRModel.load("omniASR_CTC_demo", device="cpu", dtype="float32")
