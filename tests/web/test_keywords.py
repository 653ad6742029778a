"""The page's field for keywords: what is typed there is what is written."""

from pathlib import Path

from playwright.sync_api import expect

from tests.web.conftest import SAID
from tests.web.visit import Visit

SHOUTED = [word.upper() for word in SAID]
TYPED = ", ".join(sorted({*SHOUTED, "ж"}))


def type_keywords(visit: Visit, text: str) -> None:
    visit["#keywords"].fill(text)
    visit["#keywords"].press("Enter")


class TestKeywords:
    def test_a_recording_is_written_with_them(self, visit: Visit, clip: Path) -> None:
        """As they were typed, and what cannot be written is told."""
        type_keywords(visit, TYPED)

        visit.transcribe(clip)

        assert visit["#words .word"].all_inner_texts() == SHOUTED
        expect(visit["[data-subject=keywords]"]).to_contain_text("'ж'")

    def test_captions_are_written_with_them(self, visit: Visit) -> None:
        """From the beginning on; they stay while the tab does."""
        type_keywords(visit, TYPED)
        visit.reload()

        assert visit["#keywords"].input_value() == TYPED
        visit.hear(SHOUTED)
        visit.stop()

        assert visit.said() == SHOUTED
        expect(visit["[data-subject=keywords]"]).to_contain_text("'ж'")
