"""Read the server's settings from the environment, then from `.env`.

`server.py` builds one frozen object; the rooms below `api` get plain arguments. Two
other modules read the environment: `weights/downloads.py` for the cache folder, which
fairseq2 uses as well, and `server.py` for sockets that systemd hands over and for
variables that say how PyTorch's threads wait. Every number has bounds, so a typo stops
the server at start, with one message that names every bad variable, instead of causing
errors an hour later.

The description of each field is the text of `.env.example` and of the table in the
README; a test compares the three.

The module and its class are longer than others: they have a field for each setting.
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from dotenv import dotenv_values
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from audio.samples import SAMPLE_RATE
from languages import codes
from live.options import (
    CHUNK_DURATION_S,
    ENDPOINT_SILENCE_S,
    HOP_S,
    MARGIN_S,
    PRE_ROLL_S,
    PROFILES,
    SPEECH_PROB,
    StreamOptions,
)
from text.keywords import DEFAULT_BOOST, MAX_BOOST

DEMO_CARD = "omniASR_CTC_demo"

# Fields whose empty value means "none" instead of "not set".
_EMPTY_MEANS_NONE = frozenset(
    {
        "default_lang",
        "model_dir",
        "model_aliases",
        "api_keys_file",
        "cors_origins",
        "allowed_hosts",
        "trusted_proxies",
    }
)

# Never shown, not even in an error.
_SECRET = frozenset({"api_keys", "secret_key"})

# Fewer could be searched for by those who have a key of a web page.
_MIN_SECRET_CHARS = 32

# Digits of a limit behind a key.
_MOST_DIGITS = 6

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

# Without keys a server is open, so an empty list of keys is taken for a mistake.
_NO_KEY = "has no key; without keys, all clients may use the server"


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one client; 0: no limit, None: the server's default.

    Attributes:
        sessions: Live streams at once.
        requests: Requests and sockets a minute.
        audio_minutes: Minutes of audio an hour.
    """

    sessions: int | None = None
    requests: int | None = None
    audio_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, and its own limits."""

    key: str = field(repr=False)
    quota: Quota = Quota()


class Settings(BaseSettings):
    """Everything an operator can change.

    Raises:
        ValidationError: A variable has a value that is not allowed; see
            `describe_errors` for a text for people.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
        # `MODEL_CARD` and the like are our names, not pydantic's.
        protected_namespaces=(),
    )

    # The model
    model_card: str = Field(
        "omniASR_CTC_300M_v2",
        min_length=1,
        description=(
            "Model to serve: an omniASR_CTC card or one in MODEL_DIR, a folder, or "
            "OWNER/NAME."
        ),
    )
    model_dir: Path | None = Field(
        None,
        description="Folder of asset cards (YAML) for checkpoints on disk.",
    )
    model_aliases: Annotated[tuple[str, ...], NoDecode] = Field(
        (
            "whisper-1",
            "whisper-large-v3*",
            "gpt-4o-transcribe*",
            "gpt-4o-mini-transcribe*",
            "gpt-transcribe*",
            "gpt-live-transcribe*",
            "gpt-realtime-whisper*",
            "nova-*",
            "flux-*",
        ),
        description="Other services' models that mean the loaded one (`*`: any).",
    )
    default_lang: str = Field(
        "",
        description="Label of texts in whose script it is, if nothing else tells.",
    )
    language_strict: bool = Field(
        False,
        description="Whether a single `language` restricts the script of the text.",
    )
    partials_card: str = Field(
        "",
        description="Quicker model for partials of live streams (empty: MODEL_CARD's).",
    )
    device: str = Field(
        "auto",
        description="`auto`, `cuda`, `cuda:N`, `mps` or `cpu`.",
    )
    partials_device: str = Field(
        "",
        description="Device of the model for partials (empty: DEVICE).",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description=(
            "Arithmetic; `auto`: bfloat16 where the processor has it; "
            "`int8`: CPUs only."
        ),
    )
    self_check: Literal["fallback", "stop"] = Field(
        "fallback",
        description="If the start-up check fails: use float32, or `stop`.",
    )
    num_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of a forward pass on a CPU (0: the fastest number).",
    )
    unload_after_s: float = Field(
        0.0,
        ge=0,
        le=2_592_000,
        description="Seconds without work after which the model leaves memory until "
        "the next request (0: never).",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=256,
        description=(
            "Most windows in one forward pass (none: 8 on a CPU, on a GPU as many as "
            "its memory has room for); 1 needs the least memory."
        ),
    )

    # Streaming
    chunk_duration: float | None = Field(
        None,
        ge=CHUNK_DURATION_S.lowest,
        le=CHUNK_DURATION_S.highest,
        description="Seconds of the window behind partials (empty: the profile's).",
    )
    vad_enabled: bool = Field(
        True,
        description="Find speech with voice activity detection.",
    )

    stream_profile: Literal["captions", "agent", "quality"] = Field(
        "captions",
        description="Profile of live streams that choose none.",
    )
    hop_s: float | None = Field(
        None,
        ge=HOP_S.lowest,
        le=HOP_S.highest,
        description="Seconds between partials (empty: the profile's).",
    )
    margin_s: float | None = Field(
        None,
        ge=MARGIN_S.lowest,
        le=MARGIN_S.highest,
        description="Newest seconds that are not committed (empty: the profile's).",
    )
    endpoint_silence_s: float | None = Field(
        None,
        ge=ENDPOINT_SILENCE_S.lowest,
        le=ENDPOINT_SILENCE_S.highest,
        description="Seconds of silence that end an utterance (empty: the profile's).",
    )
    pre_roll_s: float | None = Field(
        None,
        ge=PRE_ROLL_S.lowest,
        le=PRE_ROLL_S.highest,
        description="Seconds kept before the first sound (empty: the profile's).",
    )
    speech_prob: float | None = Field(
        None,
        ge=SPEECH_PROB.lowest,
        le=SPEECH_PROB.highest,
        description="Probability that counts as speech (empty: the profile's).",
    )
    stall_s: float = Field(
        3.0,
        gt=0,
        le=600,
        description="Seconds without audio that end an utterance in mid-speech.",
    )
    resume_s: float = Field(
        30.0,
        ge=0,
        le=300,
        description=(
            "Seconds that a live stream waits for a client whose connection was lost "
            "(0: it ends at once)."
        ),
    )

    # Keywords
    keyword_boost: float = Field(
        DEFAULT_BOOST,
        ge=0,
        le=MAX_BOOST,
        description="How much more readily keywords are heard (0: not at all).",
    )
    max_keywords: int = Field(
        500,
        ge=0,
        le=10_000,
        description="Most keywords of a request or a session.",
    )

    # Written form
    text_filter: str = Field(
        "",
        max_length=500,
        description="Function that writes finals and recordings, as module:function.",
    )
    text_filter_s: float = Field(
        0.3,
        gt=0,
        le=60,
        description="Longest time, in seconds, that a text waits for it.",
    )

    # The server
    host: str = Field("0.0.0.0", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port (0: any free one).")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of log lines to print."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`: log lines for people; `json`: for programs."
    )
    shutdown_grace_s: int = Field(
        30,
        ge=0,
        le=3600,
        description="Seconds that requests in progress get to finish at shutdown.",
    )
    exit_when_stuck_s: float = Field(
        120.0,
        ge=0,
        le=86_400,
        description="Seconds for which a model may give no result, after `/ready` says "
        "so, before the process ends (0: it never does).",
    )
    ready_when_full: bool = Field(
        True,
        description="Whether `/ready` answers 200 while no live stream has room.",
    )
    socket_load_wait_s: float = Field(
        8.0,
        ge=0,
        le=600,
        description="Seconds a WebSocket waits for a model that is still loading.",
    )

    # Access
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys, as name:key,name:key (empty: all clients are let in).",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with more keys, one name:key a line; read when it changes.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Signs ephemeral keys, in all processes of one address alike "
        "(empty: random).",
    )
    metrics: Literal["open", "key", "off"] = Field(
        "open", description="`/metrics`: `open` to all, only with a `key`, or `off`."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of web pages that may use the server (`*`: any)."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names with dots that a server without keys accepts (`*`: any).",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses or networks whose `X-Forwarded-` headers are trusted.",
    )

    # Quotas of single clients
    quota_sessions: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Live streams at once for a key, or an address (0: no limit).",
    )
    quota_requests: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests a minute for a key, or an address (0: no limit).",
    )
    quota_audio_minutes: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Minutes of audio an hour for a key, or an address (0: no limit).",
    )

    # Limits
    max_upload_mb: float = Field(
        100.0,
        gt=0,
        le=100_000,
        description="Largest request body in megabytes.",
    )
    max_audio_seconds: int = Field(
        21_600,
        ge=1,
        le=172_800,
        description="Longest recording in seconds.",
    )
    # Clients may send ten seconds of a speaker's voice as text.
    max_field_kb: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Largest form field other than the file, in kilobytes.",
    )
    max_channels: int = Field(
        8, ge=1, le=64, description="Most audio channels in a file."
    )
    max_sample_rate: int = Field(
        192_000, ge=16_000, le=768_000, description="Highest sample rate in hertz."
    )
    max_requests: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Most transcription requests in progress at once.",
    )
    max_wait_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Longest a window waits for the model, in seconds.",
    )
    max_queue: int = Field(
        128,
        ge=1,
        le=100_000,
        description="Most windows of recordings waiting for the model.",
    )
    min_streams: int = Field(
        4,
        ge=1,
        le=100_000,
        description="Live streams with speech that are always let in.",
    )
    max_streams: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Most live streams at once.",
    )
    max_idle_s: float = Field(
        300.0,
        ge=0.1,
        le=86_400,
        description="Longest time, in seconds, in which a client sends no part of a "
        "request or a live stream, or reads no part of an event stream.",
    )
    min_upload_kb_s: float = Field(
        1.0,
        ge=0,
        le=1_000,
        description="Lowest rate of an upload after 30 s, in kB a second (0: any).",
    )
    max_session_s: float = Field(
        14_400.0,
        ge=0.1,
        le=172_800,
        description="Longest live stream, in seconds of time and of audio.",
    )
    max_ahead_mb: float = Field(
        32.0,
        ge=0.001,
        le=1_000,
        description="Most audio of a live stream that is read ahead, in MB.",
    )
    max_unread_mb: float = Field(
        8.0,
        ge=0.001,
        le=1_000,
        description="Most text kept for a live client that does not read it, in MB.",
    )
    max_frame_mb: float = Field(
        32.0,
        ge=0.1,
        le=1_000,
        description="Largest WebSocket message, in megabytes.",
    )
    file_share: float = Field(
        0.1,
        ge=0,
        le=0.9,
        description="Share of the model's time kept for recordings that wait.",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Treat `PORT=` as unset: `docker compose` passes unset variables like that."""
        return {
            name: value
            for name, value in values.items()
            if value != "" or name in _EMPTY_MEANS_NONE
        }

    @field_validator("model_dir", "api_keys_file", mode="before")
    @classmethod
    def _no_path(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("model_dir")
    @classmethod
    def _model_dir_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("must be an existing folder")
        return value

    @field_validator("api_keys")
    @classmethod
    def _well_formed_keys(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not parse_keys(text):
            raise ValueError(_NO_KEY)
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_secret(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < _MIN_SECRET_CHARS:
            raise ValueError(
                f"must have at least {_MIN_SECRET_CHARS} characters; "
                "`openssl rand -hex 32` makes one"
            )
        return value

    @field_validator("api_keys_file")
    @classmethod
    def _readable_keys_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_keys(value)
        return value

    @field_validator(
        "model_aliases",
        "cors_origins",
        "allowed_hosts",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_write_them(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin.rstrip("/").lower() for origin in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _names_without_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if "/" in name or ":" in name:
                raise ValueError(f"{name!r} must be only a name: no scheme, no port")
        return tuple(name.lower() for name in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                if proxy != "*":
                    ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(
                    f"{proxy!r} must be an address, a network such as 10.0.0.0/8, or *"
                ) from error
        return value

    @field_validator("default_lang")
    @classmethod
    def _known_language(cls, value: str) -> str:
        try:
            return codes.resolve_language(value) or ""
        except codes.UnknownLanguage as error:
            raise ValueError(str(error)) from error

    @field_validator("device", "partials_device")
    @classmethod
    def _known_device(cls, value: str, info: ValidationInfo) -> str:
        if value == "" and info.field_name == "partials_device":
            return value
        if not _DEVICE.fullmatch(value):
            raise ValueError("must be auto, cuda, cuda:N, mps or cpu")
        return value

    def keys(self) -> dict[str, ApiKey]:
        """Return all API keys by name, those of the environment and of the file.

        Raises:
            ValueError: The file has become unreadable or has a mistake.
        """
        keys = parse_keys(self.api_keys.get_secret_value())
        if self.api_keys_file is not None:
            keys |= read_keys(self.api_keys_file)
        return keys

    @property
    def quota(self) -> Quota:
        """Limits of a client whose key has none of its own."""
        return Quota(
            sessions=self.quota_sessions,
            requests=self.quota_requests,
            audio_minutes=self.quota_audio_minutes,
        )

    @property
    def profiles(self) -> dict[str, StreamOptions]:
        """The profiles of live streams, with the operator's changes to all of them."""
        lengths = ("hop", "margin", "endpoint_silence", "pre_roll")
        changes: dict[str, Any] = {
            name: round(value * SAMPLE_RATE)
            for name in lengths
            if (value := getattr(self, f"{name}_s")) is not None
        }
        if self.speech_prob is not None:
            changes["speech_prob"] = self.speech_prob
        return {name: replace(own, **changes) for name, own in PROFILES.items()}

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1_000_000)

    @property
    def max_ahead_bytes(self) -> int:
        return int(self.max_ahead_mb * 1_000_000)

    @property
    def max_unread_bytes(self) -> int:
        return int(self.max_unread_mb * 1_000_000)

    @property
    def max_frame_bytes(self) -> int:
        return int(self.max_frame_mb * 1_000_000)

    @property
    def max_field_bytes(self) -> int:
        return self.max_field_kb * 1_000


def describe_errors(error: ValidationError) -> str:
    """Name every bad variable, its value and what is allowed, one a line."""
    lines = ["These settings have values that are not allowed:"]
    for detail in error.errors():
        name = str(detail["loc"][0]) if detail["loc"] else "settings"
        rule = _allowed(name) or detail["msg"].removeprefix("Value error, ")
        value = "..." if name in _SECRET else repr(detail["input"])
        lines.append(f"  {name.upper()}={value}: {rule}")
    lines.append("They come from the environment or from .env; see .env.example.")
    return "\n".join(lines)


def misspelt(env_file: Path = Path(".env")) -> list[str]:
    """Say which variables of a file no setting has, though the name of one is near.

    Others are left alone: Compose and other programs read the same file.
    """
    known = [name.upper() for name in Settings.model_fields]
    lines = []
    for name in dotenv_values(env_file):
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
        if near and near[0] != name.upper():
            lines.append(f"{name} in {env_file} is no setting; did you mean {near[0]}?")
    return lines


def _allowed(name: str) -> str | None:
    """Say what a number or a switch may be; None for other fields."""
    field = Settings.model_fields.get(name)
    if field is None:
        return None
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    annotation = kinds[0] if len(kinds) == 1 else field.annotation
    if annotation is bool:
        return "must be on, yes, true, 1, off, no, false or 0"
    if get_origin(annotation) is Literal:
        return "must be one of " + ", ".join(get_args(annotation))
    if annotation not in (int, float):
        return None
    kind = "a whole number" if annotation is int else "a number"
    bounds = {
        sign: getattr(rule, attribute)
        for rule in field.metadata
        for sign, attribute in _BOUNDS.items()
        if getattr(rule, attribute, None) is not None
    }
    limits = " and ".join(f"{sign} {bound}" for sign, bound in bounds.items())
    return f"must be {kind} {limits}"


_BOUNDS = {"above": "gt", "at least": "ge", "at most": "le"}


def read_keys(file: Path) -> dict[str, ApiKey]:
    """Read a file of keys; see `parse_keys`.

    Raises:
        ValueError: It cannot be read, has no key, or has a bad entry.
    """
    try:
        keys = parse_keys(file.read_text())
    except UnicodeDecodeError as error:
        raise ValueError("must be a text file") from error
    except OSError as error:
        raise ValueError("must be a readable file") from error
    if not keys:
        raise ValueError(_NO_KEY)
    return keys


def parse_keys(text: str) -> dict[str, ApiKey]:
    """Read entries, separated by commas or lines; `#` begins a comment line.

    An entry is `name:key`; its own limits may follow, as in
    `name:key requests=60 sessions=4 audio_minutes=120`.

    Raises:
        ValueError: Names the entry by its number, never by its content.
    """
    keys: dict[str, ApiKey] = {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    entries = [entry.strip() for line in lines for entry in line.split(",")]
    for number, entry in enumerate(filter(None, entries), start=1):
        name, colon, rest = entry.partition(":")
        key, *limits = rest.split() or [""]
        name = name.strip()
        if not (name and colon and key):
            raise ValueError(f"entry {number} is not of the form name:key")
        if not key.isascii():
            raise ValueError(f"the key of entry {number} has a letter outside ASCII")
        if name in keys:
            raise ValueError(f"entry {number} repeats the name of an earlier entry")
        keys[name] = ApiKey(key, _quota(number, limits))
    return keys


def _quota(number: int, limits: list[str]) -> Quota:
    known = [field.name for field in fields(Quota)]
    values: dict[str, int] = {}
    for limit in limits:
        name, _, value = limit.partition("=")
        if name not in known or not value.isdecimal() or len(value) > _MOST_DIGITS:
            raise ValueError(
                f"entry {number} may have nothing after its key but "
                f"{', '.join(f'{name}=NUMBER' for name in known)}"
            )
        values[name] = int(value)
    return Quota(**values)
