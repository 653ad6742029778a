"""Keywords of a request: heard, written as the client does, or named as left out."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.common.http import local
from engine.interface import BEST_LABEL, Decoding
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import PATH, settings, wav

HEARD, MEANT = "livekat is here", "livekit is here"


def post(url: str, keywords: Sequence[str], *, path: str = PATH, **more: Any) -> Any:
    """Send keywords as OpenAI's SDK does, with brackets."""
    return local.post(
        url + path,
        files=[("file", ("upload", wav()))],
        data={"keywords[]": list(keywords), **more},
        timeout=30,
    )


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(HEARD, nearly=MEANT)


class TestHearing:
    def test_a_keyword_is_written_as_the_client_does(
        self, model: ScriptedModel
    ) -> None:
        """In every format."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = post(url, ["LiveKit"])
            verbose = post(
                url,
                ["LiveKit"],
                response_format="verbose_json",
                **{"timestamp_granularities[]": "word"},
            )
            text = post(url, ["LiveKit"], response_format="text")
            plain = post(url, [])

        assert answer.json()["text"] == "LiveKit is here"
        assert verbose.json()["words"][0]["word"] == "LiveKit"
        assert verbose.json()["words"][0]["confidence"] < 0.9
        assert text.text == "LiveKit is here\n"
        assert plain.json()["text"] == HEARD
        assert "warnings" not in answer.json()

    def test_the_model_is_asked_for_no_more_than_is_needed(
        self, model: ScriptedModel
    ) -> None:
        """Without keywords for the same as ever."""
        with app_in_thread(settings(), lambda: model) as url:
            model.asked.clear()
            post(url, [])
            post(url, ["LiveKit"])

        assert model.asked == [BEST_LABEL, Decoding(n_best=16)]

    def test_brackets_may_be_left_out(self, model: ScriptedModel) -> None:
        """Both spellings of the field add up."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = local.post(
                url + PATH,
                files=[("file", ("upload", wav()))],
                data={"keywords": ["LiveKit", "Is"], "keywords[]": "HERE"},
            )

        assert answer.json()["text"] == "LiveKit Is HERE"

    def test_events_have_them_too(self, model: ScriptedModel) -> None:
        """And their warnings in the last."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = post(url, ["LiveKit", "дом"], stream="true")

        events = [
            json.loads(line.removeprefix("data: "))
            for line in answer.text.splitlines()
            if line.startswith("data: ")
        ]
        assert events[-1]["text"] == "LiveKit is here"
        assert [own["code"] for own in events[-1]["warnings"]] == ["keywords_left_out"]

    def test_the_boost_is_a_setting(self, model: ScriptedModel) -> None:
        """None switches them off."""
        with app_in_thread(settings(keyword_boost=0), lambda: model) as url:
            assert post(url, ["LiveKit"]).json()["text"] == HEARD
        with app_in_thread(settings(keyword_boost=0.3), lambda: model) as url:
            assert post(url, ["LiveKit"]).json()["text"] == HEARD

    def test_a_prompt_is_no_list_of_keywords(self, model: ScriptedModel) -> None:
        """Its words are context."""
        with app_in_thread(settings(), lambda: model) as url:
            assert post(url, [], prompt="LiveKit").json()["text"] == HEARD


class TestBounds:
    def test_what_cannot_be_written_is_named(self, model: ScriptedModel) -> None:
        """And never an error: frameworks send unchecked lists."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = post(url, ["LiveKit", "дом", "四", "  "])
            many = post(url, ["дом" * k for k in range(1, 31)])

        assert answer.json()["text"] == "LiveKit is here"
        (warning,) = answer.json()["warnings"]
        assert warning["code"] == "keywords_left_out"
        assert "'дом', '四'" in warning["message"]
        (warning,) = many.json()["warnings"]
        assert "and 10 more" in warning["message"]

    @pytest.mark.parametrize(
        ("keywords", "why"),
        [
            (["a", "b" * 101], "Keyword 2 has 101 characters; at most 100"),
            ([f"word {k}" for k in range(501)], "there are 501 keywords; at most 500"),
        ],
    )
    def test_too_many_or_too_long_are_400(
        self, model: ScriptedModel, keywords: list[str], why: str
    ) -> None:
        """And say so."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = post(url, keywords)

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "keywords"
        assert why.lower() in answer.json()["error"]["message"].lower()

    def test_five_hundred_are_taken(self, model: ScriptedModel) -> None:
        """A form of a field for each; how many is a setting."""
        words = [f"word number {k:x}" for k in range(499)]
        with app_in_thread(settings(), lambda: model) as url:
            assert post(url, [*words, "LiveKit"]).json()["text"] == "LiveKit is here"
        with app_in_thread(settings(max_keywords=1), lambda: model) as url:
            assert post(url, ["a", "b"]).status_code == 400
            assert post(url, ["LiveKit", "LiveKit"]).status_code == 200

    def test_a_file_is_no_keyword(self, model: ScriptedModel) -> None:
        """It is refused."""
        with app_in_thread(settings(), lambda: model) as url:
            answer = local.post(
                url + PATH,
                files=[
                    ("file", ("upload", wav())),
                    ("keywords[]", ("words.txt", b"LiveKit")),
                ],
            )

        assert answer.status_code == 400
        assert "not a text" in answer.json()["error"]["message"]
