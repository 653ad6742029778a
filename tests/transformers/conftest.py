"""How long the comparison with transformers may take."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="also the 300M model with all its layers"
    )
