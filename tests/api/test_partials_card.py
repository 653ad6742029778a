"""PARTIALS_CARD: partials of live streams come from one model, all else from another.

The quick model writes capitals, so each text says which model it comes from.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.networks import quick_demo
from config import Settings
from engine.interface import ModelInput
from engine.two_models import TwoModels
from tests.support.fakes import ALPHABET, ScriptedModel
from tests.support.live_client import (
    DIGITS,
    DIGITS_TEXT,
    UTTERANCES,
    Json,
    address,
    digits,
    listen,
    rest,
    s16le,
    say,
)
from tests.support.serving import (
    ServerProcess,
    app_in_thread,
    server_process,
    wait_for,
)
from tests.test_server import post
from text.ctc import FrameLabels, Vocabulary

STRONG = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32", "DEVICE": "cpu"}

# A second of speech, in as many messages as a microphone sends.
PACE = 1600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("models") / "small"
    quick_demo.write(own, capitals=True)
    return own


@pytest.fixture(scope="module")
def server(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with two models, which leave memory after a second."""
    log = tmp_path_factory.mktemp("log") / "log"
    own = {"PARTIALS_CARD": str(folder), "UNLOAD_AFTER_S": "1"}
    with server_process(log, **STRONG, **own) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the strong model alone."""
    log = tmp_path_factory.mktemp("log") / "log"
    with server_process(log, **STRONG) as process:
        process.wait_until_ready()
        yield process


def health(server: ServerProcess) -> Json:
    told = httpx.get(server.url + "/health").json()
    assert isinstance(told, dict)
    return told


def series(server: ServerProcess) -> str:
    return httpx.get(server.url + "/metrics").text


def transcripts(server: ServerProcess) -> list[Json]:
    """Speak the digits at about twice the pace of speech; return what is told."""
    speech = digits()
    with connect(address(server.url)) as client:
        listen(client)
        say(client, "config", words=True)
        for first in range(0, len(speech), PACE):
            client.send(s16le(speech[first : first + PACE]))
            time.sleep(0.05)
        say(client, "end")
        messages, code = rest(client)
    assert code == 1000
    return [own for own in messages if own["type"] == "transcript"]


@pytest.fixture(scope="module")
def told(server: ServerProcess) -> list[Json]:
    """What a client hears that speaks the digits."""
    return transcripts(server)


class TestLive:
    def test_partials_are_the_quick_models_and_finals_the_strong_ones(
        self, told: list[Json]
    ) -> None:
        """On the wire of a real server."""
        partials = [m for m in told if not (m["utterance_final"] or m["is_final"])]
        finals = [m["text"] for m in told if m["utterance_final"]]

        assert sum(bool(own["text"]) for own in partials) >= 4
        assert all(own["text"] == own["text"].upper() for own in partials)
        assert finals == list(UTTERANCES)
        assert told[-1]["text"] == DIGITS_TEXT

    def test_committed_text_only_grows_until_the_final(self, told: list[Json]) -> None:
        """And the final replaces it."""
        confirmed: dict[int, str] = {}
        for own in told[:-1]:
            before = confirmed.get(own["utterance"], "")
            if own["utterance_final"]:
                assert own["text"] == own["text"].lower()
                continue
            assert own["confirmed_text"].startswith(before)
            confirmed[own["utterance"]] = own["confirmed_text"]
        assert all(confirmed.values())

    def test_finals_have_the_times_and_confidences_of_the_strong_model(
        self, told: list[Json], alone: ServerProcess
    ) -> None:
        """As a server that has it alone tells them."""

        def words(messages: list[Json]) -> list[tuple[str, float]]:
            return [
                (word["word"], word["confidence"])
                for own in messages
                if own["utterance_final"]
                for word in own["words"]
            ]

        ours, theirs = words(told), words(transcripts(alone))
        assert [word for word, _ in ours] == [word for word, _ in theirs]
        assert [c for _, c in ours] == pytest.approx([c for _, c in theirs], abs=0.02)


def test_recordings_come_from_the_strong_model(server: ServerProcess) -> None:
    """All of them."""
    assert post(server.url, DIGITS.read_bytes()).json()["text"] == DIGITS_TEXT


def test_the_models_list_has_the_one_that_writes_finals(server: ServerProcess) -> None:
    """The other one cannot be asked for."""
    listed = httpx.get(server.url + "/v1/models").json()["data"]
    answer = post(server.url, DIGITS.read_bytes(), model="small")

    assert [own["id"] for own in listed] == ["omniASR_CTC_demo"]
    assert answer.status_code == 404


def test_health_the_metrics_and_the_log_name_both(server: ServerProcess) -> None:
    """And what a second of audio costs each."""
    wait_for(lambda: health(server)["partials"]["cost"], within_s=60)
    told = health(server)
    assert (told["model"], told["device"]) == ("omniASR_CTC_demo", "cpu")
    partials = told["partials"]
    assert (partials["model"], partials["device"]) == ("small", "cpu")
    assert partials["dtype"] == "float32"
    assert partials["final_cost"] > 0

    found = series(server)
    labels = 'device="cpu",dtype="float32",model='
    assert f'omniasr_model_info{{{labels}"omniASR_CTC_demo"}} 1.0' in found
    assert f'omniasr_partials_model_info{{{labels}"small"}} 1.0' in found
    assert "omniasr_partial_cost " in found
    assert "omniasr_final_cost " in found

    log = server.log.read_text()
    assert "omniASR_CTC_demo is ready on cpu in float32" in log
    assert "for partials, " in log


def test_one_model_is_told_as_before(alone: ServerProcess) -> None:
    """Nothing speaks of partials."""
    assert "partials" not in health(alone)
    assert "omniasr_partials_model" not in series(alone)
    assert "for partials" not in alone.log.read_text()


def test_passes_of_the_quick_model_are_counted(server: ServerProcess) -> None:
    """By themselves, and among all."""

    def busy(name: str) -> float:
        start = f"{name} "
        lines = [s for s in series(server).splitlines() if s.startswith(start)]
        return float(lines[0].removeprefix(start))

    names = (
        "omniasr_partials_model_audio_seconds_total",
        "omniasr_model_audio_seconds_total",
    )
    before = [busy(name) for name in names]
    post(server.url, DIGITS.read_bytes())
    recording = [busy(name) for name in names]
    transcripts(server)
    live = [busy(name) for name in names]

    assert recording[0] == before[0]
    assert recording[1] > before[1]
    assert live[0] > recording[0]
    assert live[1] - recording[1] > live[0] - recording[0]


def test_both_are_unloaded_and_loaded_again(server: ServerProcess) -> None:
    """A stream then has partials and finals as before."""
    wait_for(lambda: not health(server)["loaded"], within_s=60)
    away = health(server)
    told = transcripts(server)

    assert away["ready"]
    assert away["partials"]["model"] == "small"
    assert any(own["text"].isupper() for own in told)
    assert told[-1]["text"] == DIGITS_TEXT
    log = server.log.read_text()
    assert "is unloaded, after 1 s without work" in log
    assert "loading the weights, for partials" in log.split("is unloaded")[1]


class TestBadCard:
    @pytest.mark.parametrize(
        ("variables", "status", "message"),
        [
            (
                {"PARTIALS_CARD": "omniASR_CTC_30OM"},
                2,
                "PARTIALS_CARD=omniASR_CTC_30OM: There is no model card",
            ),
            ({"PARTIALS_CARD": "./nothing"}, 2, "PARTIALS_CARD is the name of a card"),
            (
                {"PARTIALS_CARD": "omniASR_CTC_demo", "PARTIALS_DEVICE": "cuda:99"},
                1,
                "PARTIALS_DEVICE=cuda:99, but PyTorch sees",
            ),
            (
                {"PARTIALS_CARD": "mine"},
                1,
                "PARTIALS_CARD=mine: The checkpoint of mine cannot be loaded",
            ),
            ({"PARTIALS_DEVICE": "tpu"}, 2, "PARTIALS_DEVICE='tpu': must be"),
        ],
    )
    def test_it_ends_the_server_as_a_bad_model_card_does(
        self, tmp_path: Path, variables: dict[str, str], status: int, message: str
    ) -> None:
        """With a reason that names the setting, and without a traceback."""
        card = "name: mine\nbase: omniASR_CTC_demo\ncheckpoint: /etc/passwd\n"
        (tmp_path / "mine.yaml").write_text(card)
        own = {**STRONG, "MODEL_DIR": str(tmp_path), **variables}
        with server_process(tmp_path / "log", **own) as server:
            assert server.process.wait(timeout=60) == status

        log = server.log.read_text()
        assert message in log
        assert "Traceback" not in log


class Quick(ScriptedModel):
    """Writes capitals, with a vocabulary of its own."""

    traits = replace(
        ScriptedModel.traits, vocabulary=Vocabulary(("", *ALPHABET.upper()))
    )


class Deaf(Quick):
    """A quick model that is broken while a test says so."""

    broken = False

    def label_frames(self, windows: Any) -> list[FrameLabels]:
        if self.broken:
            raise ValueError("broken on purpose")
        return super().label_frames(windows)


@contextmanager
def scripted(quick: ScriptedModel, **values: Any) -> Iterator[str]:
    settings = Settings(
        model_card="scripted",
        partials_card="omniASR_CTC_demo",  # is not loaded
        vad_enabled=False,
        **values,
    )
    with app_in_thread(settings, lambda: TwoModels(ScriptedModel(), quick)) as url:
        yield url


class TestParts:
    def test_a_keyword_is_found_in_both(self) -> None:
        """Each spells it with its own vocabulary."""
        strong, quick = ScriptedModel(nearly="hallo"), Quick(nearly="hallo")
        settings = Settings(
            model_card="scripted", partials_card="omniASR_CTC_demo", vad_enabled=False
        )
        with (
            app_in_thread(settings, lambda: TwoModels(strong, quick)) as url,
            connect(address(url)) as client,
        ):
            listen(client)
            say(client, "config", keywords=["HALLO"])
            client.send(s16le(digits()[:16_000]))
            wait_for(lambda: bool(quick.asked))
            say(client, "end")
            messages, _ = rest(client)
        told = [own for own in messages if own["type"] == "transcript"]

        assert {own["text"] for own in told if own["text"]} == {"HALLO"}
        assert all(asked.n_best for asked in (*strong.asked, *quick.asked))

    def test_a_broken_quick_model_is_trouble_and_is_tried_again(self) -> None:
        """Finals go on; `/ready` says what is wrong until partials work again."""
        quick = Deaf()
        with scripted(quick) as url:
            quick.broken = True
            with connect(address(url)) as client:
                listen(client)

                def is_trouble() -> bool:
                    client.send(s16le(digits()[:8_000]))
                    return httpx.get(url + "/ready").status_code == 503

                wait_for(is_trouble)
                reason = httpx.get(url + "/ready").json()["reason"]
                say(client, "end")
                messages, _ = rest(client)
            quick.broken = False
            wait_for(lambda: httpx.get(url + "/ready").status_code == 200)

        assert "times in a row, at last with ValueError" in reason
        assert messages[-1]["text"].startswith("hello")


def test_windows_say_who_hears_them() -> None:
    """By default the one model there is."""
    assert not ModelInput(digits()).quick
