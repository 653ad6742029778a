"""Fetch a model's files and print where they lie: `make download MODEL_CARD=...`."""

import sys
from pathlib import Path

from pydantic import ValidationError

from config import Settings, describe_errors
from weights.cards import ModelUnavailable
from weights.fetching import download


def main(arguments: list[str]) -> int:
    """Fetch the named model, or those in the settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)
        return 2
    of_settings = [settings.model_card, *filter(None, [settings.partials_card])]
    try:
        files = [
            path
            for card in arguments[:1] or of_settings
            for path in download(card, model_dir=settings.model_dir)
        ]
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    for path in files:
        print(f"{path.stat().st_size / 1e6:10.1f} MB  {Path(path).resolve()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
