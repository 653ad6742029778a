"""Languages in requests: what restricts the text, what labels it, what is refused."""

from typing import Any

import httpx
import pytest

from benchmarks.common.http import local
from benchmarks.corpus import composer
from engine.interface import BEST_LABEL, Decoding
from languages.scripts import writer
from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread
from tests.test_server import PATH, settings, wav

DEVA = Decoding(scripts=frozenset({"Deva"}))


def post(url: str, path: str = PATH, /, **fields: Any) -> httpx.Response:
    return local.post(url + path, files={"file": ("upload", wav())}, data=fields)


class TestRestricting:
    def test_only_a_list_restricts_what_the_model_may_write(self) -> None:
        """Without one it is asked for exactly the same as ever."""
        model = ScriptedModel()
        with app_in_thread(settings(), lambda: model) as url:
            model.asked.clear()
            post(url)
            post(url, language="hi")
            post(url, **{"languages[]": ["auto"]})
            free = [*model.asked]
            model.asked.clear()
            post(url, **{"languages[]": ["hi"]})
            post(url, languages=["hi", "mr"], stream="true")
            post(url, languages=["hi"], **{"languages[]": "sa", "keywords[]": "ab"})

        assert free == [BEST_LABEL] * 3
        assert model.asked == [DEVA, DEVA, Decoding(n_best=16, scripts=DEVA.scripts)]

    def test_a_single_language_restricts_if_the_operator_says_so(self) -> None:
        """LANGUAGE_STRICT, at every door for recordings."""
        model = ScriptedModel()
        with app_in_thread(settings(language_strict=True), lambda: model) as url:
            model.asked.clear()
            post(url, language="hi")
            post(url, "/asr?language=hi")
            local.post(f"{url}/v1/listen?language=hi", content=wav())
            post(url)

        assert model.asked == [DEVA, DEVA, DEVA, BEST_LABEL]

    def test_a_label_alone_restricts_nothing_anywhere(self) -> None:
        """Stock clients send `en` for everything."""
        model = ScriptedModel()
        with app_in_thread(settings(), lambda: model) as url:
            model.asked.clear()
            post(url, "/asr?language=hi")
            local.post(f"{url}/v1/listen?language=hi&language_hint=hi", content=wav())

        assert model.asked == [BEST_LABEL, BEST_LABEL]


class TestAnswers:
    def test_a_script_is_found_without_a_language(self) -> None:
        """A single Latin word may be in hundreds of languages."""
        with app_in_thread(settings(), ScriptedModel) as url:
            plain = post(url).json()
            verbose = post(url, response_format="verbose_json").json()
            listen = local.post(f"{url}/v1/listen?detect_language=true", content=wav())

        assert plain["languages"] == []
        assert (verbose["language"], verbose["script"]) == ("und", "Latn")
        assert "language_probability" not in verbose
        (channel,) = listen.json()["results"]["channels"]
        assert "detected_language" not in channel

    def test_the_only_listed_language_of_the_script_is_found(self) -> None:
        """With a probability, in each kind of answer that has room for one."""
        with app_in_thread(settings(), ScriptedModel) as url:
            fields = {"languages[]": ["hi", "de"]}
            plain = post(url, **fields).json()
            verbose = post(url, response_format="verbose_json", **fields).json()

        assert plain["languages"] == [{"code": "de", "probability": 1.0}]
        assert verbose["language"] == "de"
        assert verbose["language_probability"] == 1.0

    def test_a_label_is_kept_without_a_probability(self) -> None:
        """The client said it; nobody found it."""
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = post(url, language="nn").json()
            listen = local.post(
                f"{url}/v1/listen?detect_language=true&language=fr", content=wav()
            ).json()

        assert answer["languages"] == [{"code": "nb"}]
        (channel,) = listen["results"]["channels"]
        assert channel["detected_language"] == "fr"
        assert "language_confidence" not in channel


class TestUnknown:
    @pytest.mark.parametrize("path", [PATH, "/asr"])
    def test_a_label_is_never_a_reason_to_refuse(self, path: str) -> None:
        """It is not repeated, and no other one takes its place."""
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = post(url, f"{path}?language=xx&output=json", language="xx")

        assert answer.status_code == 200
        assert answer.json()["text"] == "hello"
        assert "xx" not in (answer.json().get("language"), *answer.json().values())

    def test_deepgrams_clients_are_told_in_the_metadata(self) -> None:
        """They give up for good when a request is refused."""
        with app_in_thread(settings(language_strict=True), ScriptedModel) as url:
            answer = local.post(f"{url}/v1/listen?language=xx", content=wav())

        assert answer.status_code == 200
        (warning,) = answer.json()["metadata"]["warnings"]
        assert warning["parameter"] == "language"
        assert "'xx'" in warning["message"]

    @pytest.mark.parametrize(
        ("fields", "strict", "param"),
        [
            ({"languages[]": ["en", "xx"]}, False, "languages"),
            ({"languages": ["xx"]}, True, "languages"),
            ({"language": "xx"}, True, "language"),
            ({"languages": ["en"] * 101}, False, "languages"),
        ],
    )
    def test_what_would_restrict_the_text_is_refused(
        self, fields: dict[str, Any], strict: bool, param: str
    ) -> None:
        """It can be honoured or not, but not ignored unseen."""
        with app_in_thread(settings(language_strict=strict), ScriptedModel) as url:
            answer = post(url, **fields)

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def confidence(answer: dict[str, Any]) -> float:
    """The mean confidence of all words; 0 without any."""
    found = [word["confidence"] for word in answer["words"]]
    return float(sum(found) / max(len(found), 1))


class TestRealSpeech:
    """Through the real model."""

    def ask(self, server: ServerProcess, name: str, **fields: Any) -> httpx.Response:
        clip = composer.DIGITS.parent / "synthetic" / f"{name}.flac"
        files = {"file": ("upload", clip.read_bytes())}
        return local.post(server.url + PATH, files=files, data=fields, timeout=60)

    @pytest.mark.parametrize(
        ("name", "label", "n_spaces"), [("cmn-5", "en", 0), ("hi-5", "zh", 4)]
    )
    def test_words_and_subtitles_follow_the_script_that_is_there(
        self, demo_server: ServerProcess, name: str, label: str, n_spaces: int
    ) -> None:
        """Not the label: whether spaces separate words is a matter of the letters."""
        wanted = {"language": label, "timestamp_granularities[]": "word"}
        srt = self.ask(demo_server, name, response_format="srt", language=label)
        verbose = self.ask(demo_server, name, response_format="verbose_json", **wanted)

        lines = [line for line in srt.text.splitlines() if line]
        shown = [line for line in lines if not line[0].isascii()]
        text = verbose.json()["text"]
        assert text.count(" ") == n_spaces
        assert " ".join(shown).replace(" ", "") == text.replace(" ", "")
        assert len(verbose.json()["words"]) == 5
        assert verbose.json()["language"] == label

    def test_a_wrong_list_is_seen_in_the_confidence(
        self, demo_server: ServerProcess
    ) -> None:
        """What is left of Hindi in Latin letters is little, and nearly impossible."""
        wanted = {
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        }
        plain = self.ask(demo_server, "hi-9", **wanted).json()
        right = self.ask(demo_server, "hi-9", **wanted, languages="hi").json()
        wrong = self.ask(demo_server, "hi-9", **wanted, languages="en").json()

        assert right["text"] == plain["text"]
        assert right["language"] == "hi"
        assert writer(frozenset({"Latn"}))(wrong["text"])
        assert confidence(plain) > 0.8
        assert confidence(wrong) < 0.2
