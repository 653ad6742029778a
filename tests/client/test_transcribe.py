"""`transcribe` and `listen`: many recordings, folders, and no server at all."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.http import local
from client.errors import CommandError
from client.recordings import find_recordings
from client.remote import with_spaces
from client.screen import Row, duration, table
from client.transcribe import formats_of
from deploy.wheel import command
from tests.client.test_command_line import SOUND_CARD, on_a_terminal, port_of, run
from tests.conformance.test_api import is_right, speech, wav
from tests.support.fakes import ScriptedModel
from tests.support.live_client import DIGITS, UTTERANCES
from tests.support.serving import (
    ROOT,
    ServerProcess,
    app_in_thread,
    free_port,
    wait_for,
)
from tests.test_server import settings
from tests.test_server import wav as silence

__all__ = ["speech", "wav"]  # fixtures

PATH = "/v1/audio/transcriptions"
DEMO = {"DTYPE": "float32", "MODEL_CARD": "omniASR_CTC_demo"}


def transcribe(
    server: ServerProcess | str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    url = server if isinstance(server, str) else server.url
    return run("transcribe", *map(str, arguments), "--url", url)


@pytest.fixture
def folder(tmp_path: Path, wav: Path) -> Path:
    """Two recordings, one of them deeper, and what is none."""
    (tmp_path / "talks" / "deep").mkdir(parents=True)
    shutil.copy(wav, tmp_path / "talks" / "one.wav")
    shutil.copy(wav, tmp_path / "talks" / "deep" / "two.WAV")
    (tmp_path / "talks" / "notes.txt").write_text("no recording")
    (tmp_path / "talks" / ".hidden.wav").write_text("no recording")
    return tmp_path / "talks"


def names_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


class TestOne:
    def test_its_text_is_printed(self, demo_server: ServerProcess, wav: Path) -> None:
        """And nothing is written."""
        done = transcribe(demo_server, wav)

        assert done.returncode == 0, done.stderr
        assert is_right(done.stdout)
        assert "times real time" in done.stderr

    def test_standard_input_may_be_one(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """Any container, since its content tells."""
        done = subprocess.run(
            [
                *(sys.executable, ROOT / "test_streaming.py", "transcribe", "-"),
                *("--url", demo_server.url, "--format", "srt"),
            ],
            input=wav.read_bytes(),
            capture_output=True,
            timeout=60,
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"1\n00:00:0")

    def test_a_bar_shows_how_far_it_is(self, tmp_path: Path) -> None:
        """Below the text."""
        file = tmp_path / "long.wav"
        file.write_bytes(silence(100))
        model = ScriptedModel("hello world " * 80)
        with app_in_thread(settings(), lambda: model) as url:
            screen = on_a_terminal("transcribe", str(file), "--url", url)

        assert "100 %" in screen
        assert "hello world" in screen

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.wav"], "there is no file none.wav"),
            ([__file__], "the server answered 400: The file is text"),
            (["WAV", "--model", "other"], "The model 'other' is not served here"),
            (["WAV", "--format", "doc"], "choose from txt,srt,vtt,json"),
            (["WAV", "--words"], "--format json"),
            (["-", "--format", "txt,srt"], "give one with -o"),
            (["WAV", "--url", "asr.example.org"], "not an address like https://"),
        ],
    )
    def test_what_goes_wrong_is_said_in_a_line(
        self,
        demo_server: ServerProcess,
        wav: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        """With a status that is not 0, and without a traceback."""
        given = [str(wav) if each == "WAV" else each for each in arguments]

        done = run("transcribe", "--url", demo_server.url, *given)

        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.strip() == ""


class TestMany:
    def test_a_folder_gets_texts_beside_its_recordings(
        self, demo_server: ServerProcess, folder: Path
    ) -> None:
        """Not those of its folders, and no other files."""
        done = transcribe(demo_server, folder)

        assert done.returncode == 0, done.stderr
        assert is_right((folder / "one.txt").read_text())
        assert not (folder / "deep" / "two.txt").exists()
        assert "1 done" in done.stderr

    def test_folders_in_folders_keep_their_places(
        self, demo_server: ServerProcess, folder: Path, tmp_path: Path
    ) -> None:
        """In every format, each as the server itself writes it."""
        texts = tmp_path / "texts"
        done = transcribe(
            *(demo_server, folder, "-r", "-o", texts),
            *("--format", "txt,srt,vtt,json", "--words"),
        )

        assert done.returncode == 0, done.stderr
        assert names_in(texts) == [
            *(f"deep/two.{kind}" for kind in ("json", "srt", "txt", "vtt")),
            *(f"one.{kind}" for kind in ("json", "srt", "txt", "vtt")),
        ]
        for kind in ("text", "srt", "vtt", "verbose_json"):
            theirs = local.post(
                demo_server.url + PATH,
                files={"file": (folder / "one.wav").read_bytes()},
                data={
                    "response_format": kind,
                    **(
                        {"timestamp_granularities[]": ["segment", "word"]}
                        if kind == "verbose_json"
                        else {}
                    ),
                },
                timeout=60,
            )
            if kind == "verbose_json":
                expected = theirs.json()
                del expected["usage"], expected["warnings"]  # not of the recording
                assert json.loads((texts / "one.json").read_text()) == expected
            else:
                ending = "txt" if kind == "text" else kind
                ours = (texts / f"one.{ending}").read_text()
                assert rounded(ours) == rounded(theirs.text)

    def test_without_words_json_has_segments(
        self, demo_server: ServerProcess, wav: Path, tmp_path: Path
    ) -> None:
        """Also if subtitles need the words."""
        done = transcribe(
            demo_server, wav, "-o", tmp_path / "out", "--format", "json,srt"
        )

        assert done.returncode == 0, done.stderr
        (made,) = (tmp_path / "out").glob("*.json")
        body = json.loads(made.read_text())
        assert "words" not in body
        assert body["segments"]
        assert "words" not in body["segments"][0]

    def test_it_is_interrupted_and_goes_on(
        self, demo_server: ServerProcess, wav: Path, tmp_path: Path
    ) -> None:
        """Of forty files one is bad; what is there is not made again."""
        for n in range(40):
            shutil.copy(wav, tmp_path / f"talk{n:02}.wav")
        (tmp_path / "talk07.wav").write_text("this is no recording")
        arguments = [sys.executable, str(ROOT / "test_streaming.py"), "transcribe"]
        arguments += [str(tmp_path), "--url", demo_server.url, "--jobs", "2"]

        def texts() -> list[Path]:
            return sorted(tmp_path.glob("*.txt"))

        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
            wait_for(lambda: len(texts()) >= 3)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        first = {path: path.stat().st_mtime_ns for path in texts()}
        again = run(*arguments[2:], "--skip-existing")

        assert process.returncode == 130, told
        assert "left: --skip-existing goes on here" in told
        assert "Traceback" not in told
        assert 3 <= len(first) < 39
        assert again.returncode == 1
        assert len(texts()) == 39
        assert {path: path.stat().st_mtime_ns for path in first} == first
        assert all(is_right(path.read_text()) for path in texts())
        assert f"{39 - len(first)} done, 1 failed, {len(first)} done before" in (
            again.stderr
        )
        *_, failed, _ = again.stderr.splitlines()
        assert "talk07.wav  failed  the server answered 400: The file is t" in failed
        assert not list(tmp_path.glob(".*"))

    def test_each_has_a_bar_and_all_have_one(self, tmp_path: Path) -> None:
        """The table comes last."""
        for name in ("a.wav", "b.wav"):
            (tmp_path / name).write_bytes(silence(100))
        model = ScriptedModel("hello world " * 80)
        with app_in_thread(settings(), lambda: model) as url:
            screen = on_a_terminal("transcribe", str(tmp_path), "--url", url)

        assert "a.wav: " in screen
        assert "b.wav: " in screen
        assert "All: 100 %" in screen
        assert screen.rstrip().endswith(" s")
        assert "2 done; 3:20 of audio in" in screen

    def test_what_fails_for_all_fails_once(
        self, demo_server: ServerProcess, folder: Path
    ) -> None:
        """A model that is not served, and a server that is not there."""
        unknown = transcribe(demo_server, folder, "-r", "--model", "other")
        away = transcribe(f"http://127.0.0.1:{free_port()}", folder, "-r")

        assert unknown.returncode == away.returncode == 1
        assert unknown.stderr.count("is not served here") == 1
        assert away.stderr.count("is the server running there?") == 1

    def test_a_busy_server_is_waited_for(self, folder: Path) -> None:
        """It has room for one recording, and gets two at once."""
        with app_in_thread(settings(max_requests=1), ScriptedModel) as url:
            done = transcribe(url, folder, "-r", "--jobs", "2")

        assert done.returncode == 0, done.stderr
        assert "2 done" in done.stderr


def rounded(subtitles: str) -> str:
    """Leave the last digit of times out: a millisecond is rounded twice."""
    lines = (
        " --> ".join(part[:-1] for part in line.split(" --> "))
        if "-->" in line
        else line
        for line in subtitles.splitlines()
    )
    return "\n".join(lines)


class TestLocal:
    def test_no_server_is_needed(
        self, folder: Path, tmp_path: Path, demo_server: ServerProcess
    ) -> None:
        """The texts are the server's, with the same warnings."""
        (folder / "bad.wav").write_text("this is no recording")
        kinds = ("json", "srt", "txt", "vtt")
        wanted = ["-r", "--format", ",".join(kinds), "--words"]
        wanted += ["--languages", "es", "--keyword", "ж"]
        done = run(
            *("transcribe", str(folder), *wanted, "-o", str(tmp_path / "here")),
            *("--local", "--model", "omniASR_CTC_demo"),
            environment={"DTYPE": "float32"},
        )
        theirs = transcribe(demo_server, folder, *wanted, "-o", str(tmp_path / "there"))

        assert done.returncode == theirs.returncode == 1
        assert re.search(r"bad.wav +failed  The file is text", done.stderr)
        for kind in kinds:
            ours = (tmp_path / "here" / f"one.{kind}").read_text()
            other = (tmp_path / "there" / f"one.{kind}").read_text()
            assert rounded(ours) == rounded(other)
            if kind == "json":
                assert json.loads(ours)["language"] == "es"
        assert warnings_in(done) == warnings_in(theirs)
        assert "'ж'" in warnings_in(done)[1]

    def test_captions_of_a_file_need_none_either(
        self, demo_server: ServerProcess
    ) -> None:
        """As fast as the model goes, with all that a server would be asked for."""
        words = {word.upper() for text in UTTERANCES for word in text.split()}
        wanted = ["listen", str(DIGITS), "--fast", "--languages", "en"]
        for keyword in sorted({*words, "ж"}):
            wanted += ["--keyword", keyword]

        done = run(
            *(*wanted, "--local", "--model", "omniASR_CTC_demo"),
            environment={"DTYPE": "float32"},
        )
        theirs = run(*wanted, "--url", demo_server.url)

        assert done.returncode == 0, done.stderr
        assert tuple(done.stdout.splitlines()) == tuple(map(str.upper, UTTERANCES))
        assert done.stdout == theirs.stdout
        assert warnings_in(done) == warnings_in(theirs)
        assert "'ж'" in warnings_in(done)[1]

    @pytest.mark.parametrize("command", ["listen", "transcribe"])
    def test_a_language_that_is_none_is_an_error(self, command: str, wav: Path) -> None:
        """Before a model is loaded."""
        done = run(command, str(wav), "--local", "--languages", "xx")

        assert done.returncode == 1
        assert done.stderr.startswith("error: Unknown language 'xx'")

    def test_a_model_that_cannot_be_had_is_an_error(self, wav: Path) -> None:
        """Before anything is transcribed."""
        done = run("transcribe", str(wav), "--local", "--model", "omniASR_CTC_400M")

        assert done.returncode == 1
        assert "error: the model cannot be loaded" in done.stderr


def warnings_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


class TestListen:
    def test_a_file_is_streamed(self, demo_server: ServerProcess) -> None:
        """By an address, too."""
        done = run("listen", str(DIGITS), "--fast", "--url", demo_server.url)

        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == " ".join(UTTERANCES).split()

    def test_a_server_chooses_its_model(self, demo_server: ServerProcess) -> None:
        """A stream of this protocol names none."""
        done = run("listen", "--model", "other", "--url", demo_server.url)

        assert done.returncode == 1
        assert "--model needs --local" in done.stderr

    def test_without_a_file_it_is_the_microphone(
        self, demo_server: ServerProcess
    ) -> None:
        """Here there is none."""
        done = run("listen", "--port", port_of(demo_server), environment=SOUND_CARD)

        assert done.returncode == 1
        assert "no microphone that can be used" in done.stderr


class TestFinding:
    def found(self, *named: Path | str, **options: object) -> list[str]:
        chosen = {"recursive": False, "folder": None, "endings": ["txt"], **options}
        recordings = find_recordings([str(each) for each in named], **chosen)  # type: ignore[arg-type]
        return [each.text_path("txt").name for each in recordings]

    def test_the_same_recording_twice_is_one(self, folder: Path) -> None:
        """Once by itself, once in its folder."""
        assert self.found(folder / "one.wav", folder) == ["one.txt"]

    def test_two_of_a_name_keep_their_endings(self, folder: Path) -> None:
        """Neither text is written over the other."""
        shutil.copy(folder / "one.wav", folder / "one.mp3")

        assert self.found(folder) == ["one.mp3.txt", "one.wav.txt"]

    def test_no_recording_is_written_over(self, folder: Path) -> None:
        """It may be called like its text."""
        assert self.found(folder / "notes.txt") == ["notes.txt.txt"]

    def test_two_folders_with_the_same_names_are_refused(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """One would write over the other's texts."""
        shutil.copytree(folder, tmp_path / "more")

        with pytest.raises(CommandError, match=r"would write the same file"):
            self.found(folder, tmp_path / "more", folder=tmp_path / "out")

    def test_a_folder_without_recordings_is_an_error(self, tmp_path: Path) -> None:
        """It says how to look deeper."""
        with pytest.raises(CommandError, match="-r looks into"):
            self.found(tmp_path)


class TestWriting:
    def test_formats_have_their_other_names(self) -> None:
        """Each once."""
        assert formats_of("text, SRT,srt,verbose_json") == ("txt", "srt", "json")

    def test_words_know_whether_a_space_stands_before(self) -> None:
        """As in the text, which may have none."""
        words = [
            {"word": each, "start": 0, "end": 1} for each in ("a", "b", "数", "字")
        ]

        spaced = with_spaces(words, "a b数 字")

        assert [each["space_before"] for each in spaced] == [False, True, False, True]

    @pytest.mark.parametrize(
        ("seconds", "text"), [(9, "9.0 s"), (90, "1:30"), (7384, "2:03:04")]
    )
    def test_durations_are_short(self, seconds: float, text: str) -> None:
        """With hours only where there are any."""
        assert duration(seconds) == text

    def test_columns_stand_below_one_another(self) -> None:
        """Also with wide characters."""
        rows = [Row("数字.wav", audio_s=9), Row("a.wav", error="it is bad")]

        assert table(rows).splitlines() == [
            "数字.wav  done    9.0 s",
            "a.wav     failed  it is bad",
        ]


class TestInstalledCommand:
    def test_it_has_the_same_commands(
        self, capsys: pytest.CaptureFixture[str], wav: Path
    ) -> None:
        """Under its own name."""
        with pytest.raises(SystemExit):
            command.main(["transcribe", "--help"])

        assert "omniasr-server transcribe" in capsys.readouterr().out
