"""Settings: defaults, bounds, messages, and the texts that describe them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from config import Settings, describe_errors, misspelt
from live.options import PROFILES
from protocols.native.messages import Config

ROOT = Path(__file__).parent.parent
FIELDS = Settings.model_fields
NUMBERS = [n for n, f in FIELDS.items() if f.annotation in (int, float)]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in FIELDS:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


class TestDefaults:
    def test_they_are_those_of_the_published_table(self) -> None:
        """What users of the original README rely on."""
        settings = Settings()

        assert settings.model_card == "omniASR_CTC_300M_v2"
        assert settings.default_lang == ""
        assert not settings.language_strict
        assert (settings.device, settings.dtype) == ("auto", "auto")
        assert (settings.host, settings.port) == ("0.0.0.0", 8000)
        assert settings.vad_enabled

    def test_settings_are_frozen(self) -> None:
        """No module can change them for another."""
        with pytest.raises(ValidationError, match="frozen"):
            setattr(Settings(), "port", 1)  # noqa: B010


class TestSources:
    def test_the_environment_wins_over_the_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And the file over the defaults."""
        Path(".env").write_text("PORT=1111\nBATCH_SIZE=3\nOTHER_PROGRAM=x\n")
        monkeypatch.setenv("PORT", "2222")

        settings = Settings()

        assert (settings.port, settings.batch_size) == (2222, 3)

    def test_an_empty_variable_counts_as_unset(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Compose files pass on what the shell does not have."""
        for name in FIELDS:
            monkeypatch.setenv(name.upper(), "")

        settings = Settings()

        assert settings.port == 8000
        assert settings.model_dir is None

    def test_an_empty_default_language_means_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the table says; so does an empty list of aliases."""
        monkeypatch.setenv("DEFAULT_LANG", "")
        monkeypatch.setenv("MODEL_ALIASES", "")

        assert Settings().default_lang == ""
        assert Settings().model_aliases == ()

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("on", True),
            ("YES", True),
            ("1", True),
            ("true", True),
            ("off", False),
            ("no", False),
            ("0", False),
            ("False", False),
        ],
    )
    def test_switches_are_read_as_people_write_them(
        self, monkeypatch: pytest.MonkeyPatch, text: str, value: bool
    ) -> None:
        """`on` is not off."""
        monkeypatch.setenv("VAD_ENABLED", text)

        assert Settings().vad_enabled is value

    def test_aliases_are_separated_by_commas(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With or without spaces."""
        monkeypatch.setenv("MODEL_ALIASES", "whisper-1, my-model,")

        assert Settings().model_aliases == ("whisper-1", "my-model")


class TestErrors:
    def test_one_message_names_every_bad_variable_its_value_and_what_is_allowed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that one look is enough."""
        monkeypatch.setenv("PORT", "80a0")
        monkeypatch.setenv("BATCH_SIZE", "0")
        monkeypatch.setenv("VAD_ENABLED", "perhaps")
        monkeypatch.setenv("DEVICE", "tpu")
        monkeypatch.setenv("DTYPE", "int4")
        monkeypatch.setenv("DEFAULT_LANG", "klingon")
        monkeypatch.setenv("MODEL_DIR", "/no/such/folder")

        with pytest.raises(ValidationError) as raised:
            Settings()
        lines = describe_errors(raised.value).splitlines()

        for line in (
            "  PORT='80a0': must be a whole number at least 0 and at most 65535",
            "  BATCH_SIZE='0': must be a whole number at least 1 and at most 256",
            "  VAD_ENABLED='perhaps': must be on, yes, true, 1, off, no, false or 0",
            "  DEVICE='tpu': must be auto, cuda, cuda:N, mps or cpu",
            "  DTYPE='int4': must be one of auto, float32, bfloat16, float16, int8",
            "  MODEL_DIR='/no/such/folder': must be an existing folder",
        ):
            assert line in lines
        assert any("DEFAULT_LANG='klingon': Unknown language" in line for line in lines)

    @pytest.mark.parametrize("name", NUMBERS)
    def test_every_number_is_bounded(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A slip of the finger does not pass."""
        for value in ("-1e18", "1e18"):
            monkeypatch.setenv(name.upper(), value)
            with pytest.raises(ValidationError):
                Settings()


class TestProfiles:
    @pytest.mark.parametrize(
        ("variable", "field"),
        [
            ("HOP_S", "hop"),
            ("MARGIN_S", "margin"),
            ("ENDPOINT_SILENCE_S", "endpoint_silence"),
            ("PRE_ROLL_S", "pre_roll"),
        ],
    )
    def test_a_length_is_changed_in_every_profile(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, field: str
    ) -> None:
        """And nothing else is."""
        monkeypatch.setenv(variable, "0.5")

        profiles = Settings().profiles

        for name, options in PROFILES.items():
            changed: dict[str, Any] = {field: 8000}
            assert profiles[name] == replace(options, **changed)

    def test_the_probability_of_speech_is_changed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Noisy rooms want a higher one."""
        monkeypatch.setenv("SPEECH_PROB", "0.8")

        assert {own.speech_prob for own in Settings().profiles.values()} == {0.8}

    @pytest.mark.parametrize(
        "name",
        [
            "chunk_duration",
            "hop_s",
            "margin_s",
            "endpoint_silence_s",
            "pre_roll_s",
            "speech_prob",
        ],
    )
    def test_operators_and_clients_have_the_same_bounds(self, name: str) -> None:
        """What one may ask for, the other may as well."""
        settings, wire = Settings.model_fields[name], Config.model_fields[name]

        assert settings.metadata == wire.metadata
        assert len(settings.metadata) == 2


class TestDescriptions:
    def test_the_example_file_has_every_setting_with_its_default(self) -> None:
        """And says the same about it as the field."""
        text = (ROOT / ".env.example").read_text()

        for name, field in FIELDS.items():
            assert f"# {field.description}\n#{_assignment(name)}\n" in text
        assert len(re.findall(r"^#[A-Z_]+=", text, re.MULTILINE)) == len(FIELDS)

    def test_the_table_has_every_setting_with_its_default(self) -> None:
        """In one table row each."""
        text = (ROOT / "docs" / "operations.md").read_text()

        for name, field in FIELDS.items():
            _, value = _assignment(name).split("=", 1)
            shown = f"`{value}`" if value else "(none)"
            assert f"| `{name.upper()}` | {shown} | {field.description} |" in text


def _assignment(name: str) -> str:
    default = FIELDS[name].default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = str(default).lower()
    return f"{name.upper()}={'' if default is None else default}"


class TestMisspelt:
    def test_a_near_name_in_the_file_is_pointed_out(self, tmp_path: Path) -> None:
        """What other programs read there is left alone."""
        file = tmp_path / ".env"
        file.write_text("MODELCARD=x\nMAX_UPLOAD=3\nHF_TOKEN=1\nport=1\nHOST=::\n")

        lines = misspelt(file)

        assert [line.split()[0] for line in lines] == ["MODELCARD", "MAX_UPLOAD"]
        assert lines[0].endswith("did you mean MODEL_CARD?")

    def test_without_a_file_there_is_nothing_to_say(self, tmp_path: Path) -> None:
        """It need not be there."""
        assert misspelt(tmp_path / ".env") == []
