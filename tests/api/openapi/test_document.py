"""`/openapi.json` is complete, is well formed, and says what the server does."""

import ast
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.datastructures import FormData, UploadFile

from api.allowance import Allowance
from api.auth import WRONG_KEYS
from api.errors import REFUSALS
from api.forms import RESPONSE_FORMATS, parse_form
from api.open_paths import is_open
from api.openapi.errors import ERRORS
from benchmarks.common.http import local
from benchmarks.corpus.encoders import encode
from server import create_app
from tests.api.routes.test_event_stream import events_of
from tests.support.audio_files import tone, video
from tests.support.fakes import ScriptedModel
from tests.support.serving import ROOT, app_in_thread, wait_for
from tests.test_server import (
    PATH,
    answer_on,
    half_an_upload,
    health,
    post,
    settings,
    wav,
)

Json = dict[str, Any]
KEY = {"authorization": "Bearer a-key"}


@pytest.fixture(scope="module")
def document() -> Json:
    """As a client reads it."""
    with app_in_thread(settings(), ScriptedModel) as url:
        content = local.get(url + "/openapi.json").json()
    assert isinstance(content, dict)
    return content


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def resolve(document: Json, node: Json) -> Json:
    """Follow a reference within the document, if it is one."""
    while "$ref" in node:
        found = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def validate(document: Json, schema: Json, value: Any) -> None:
    """Hold a value against a schema, and allow no field that the schema lacks."""
    closed = {
        name: {**found, "additionalProperties": False}
        if "properties" in found and "additionalProperties" not in found
        else found
        for name, found in document["components"]["schemas"].items()
    }
    whole = {**schema, "components": {"schemas": closed}}
    Draft202012Validator(whole).validate(value)


class TestDocument:
    def test_it_is_openapi(self, document: Json) -> None:
        """As its own schema has it."""
        OpenAPIV31SpecValidator(document).validate()

        assert document["openapi"].startswith("3.1")

    def test_every_route_is_described(self, document: Json) -> None:
        """With a name for generated clients, a summary, a text and a known tag."""
        tags = {tag["name"] for tag in document["tags"]}
        names = [operation["operationId"] for _, operation in operations(document)]

        assert len(set(names)) == len(names)
        for path, operation in operations(document):
            assert operation["operationId"].isalpha(), path
            assert operation["summary"], path
            assert operation["description"].endswith((".", "`")), path
            assert set(operation["tags"]) <= tags, path

    def test_the_names_for_generated_clients_stay(self, document: Json) -> None:
        """They are those of functions; to rename one would break its callers."""
        names = {operation["operationId"] for _, operation in operations(document)}

        assert names == {
            *("createTranscription", "streamTranscription", "createTranslation"),
            *("azureTranscription", "createAsrTranscription"),
            *("createSubtitles", "createClientSecret", "listen"),
            *("listModels", "retrieveModel", "listLanguages"),
            *("about", "health", "ready", "metrics"),
        }

    def test_every_parameter_has_a_meaning_and_an_example(self, document: Json) -> None:
        """Also those of all routes."""
        for path, operation in operations(document):
            for reference in operation["parameters"]:
                parameter = resolve(document, reference)
                schema = parameter["schema"]
                assert parameter["description"], path
                assert parameter.get("example") or schema["examples"], path

    def test_a_request_id_may_be_anything(self, document: Json) -> None:
        """The server makes one of its own in place of one that it cannot use."""
        schema = document["components"]["parameters"]["RequestId"]["schema"]
        long = 300 * "x"
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = local.get(f"{url}/health", headers={"x-request-id": long})

        assert schema == {"type": "string"}
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] != long
        is_as_described(document, answer, "GET", "/health")

    def test_every_answer_has_a_schema_and_an_example_of_it(
        self, document: Json
    ) -> None:
        """The examples are such answers themselves."""
        for path, operation in operations(document):
            for status, answer in operation["responses"].items():
                assert answer["description"], (path, status)
                for media_type, content in answer["content"].items():
                    examples = [
                        resolve(document, example)["value"]
                        for example in content.get("examples", {}).values()
                    ] or [content["example"]]
                    for example in examples:
                        where = (path, status, media_type)
                        assert content["schema"], where
                        validate(document, content["schema"], example)

    def test_every_route_says_what_may_go_wrong(self, document: Json) -> None:
        """In the shape of its clients, with the headers that they wait by."""
        for path, operation in operations(document):
            answers = operation["responses"]
            assert "422" not in answers, path  # nothing answers so
            assert "500" in answers, path
            assert ("401" in answers) != is_open(path), path
            for status, answer in answers.items():
                if int(status) >= 400 and (path, status) != ("/ready", "503"):
                    schema = answer["content"]["application/json"]["schema"]
                    shape = "Deepgram" if path == "/v1/listen" else "Response"
                    assert shape in schema["$ref"], (path, status)
                    waits = status in ("429", "503", "507")
                    assert ("Retry-After" in answer["headers"]) == waits, path
                assert "x-request-id" in answer["headers"]

    def test_keys_are_asked_for_if_there_are_any(self, document: Json) -> None:
        """Without them they may be sent all the same, as the SDKs do."""
        with_keys = create_app(settings(api_keys="me:a-key")).openapi()

        for path, operation in operations(document):
            assert ({} in operation.get("security", [])) != is_open(path)
        for path, operation in operations(with_keys):
            schemes = operation.get("security", [])
            assert ({"bearer": []} in schemes) != is_open(path)
            assert {} not in schemes


class TestForm:
    def test_it_has_every_field_that_is_read(self, document: Json) -> None:
        """And says of the others that they are ignored."""
        asked: set[str] = set()

        class Watched(FormData):
            def get(self, key: Any, default: Any = None) -> Any:
                asked.add(key)
                return super().get(key, default)

            def getlist(self, key: Any) -> list[Any]:
                asked.add(key)
                return super().getlist(key)

        upload = UploadFile(open(__file__, "rb"))
        with upload.file:
            parse_form(Watched([("file", upload)]), max_keywords=1)

        described = form_of(document)["properties"]
        brackets = {name for name in asked if f"{name}[]" in asked}
        ignored = {
            name for name in described if "Ignored" in fields_text(described, name)
        }
        assert set(described) - ignored == asked - brackets
        assert ignored == {"prompt"}
        for name in described:
            assert described[name]["description"]

    def test_its_choices_are_the_servers(self, document: Json) -> None:
        """Each format is accepted, and nothing else is."""
        fields = form_of(document)["properties"]
        with app_in_thread(settings(), ScriptedModel) as url:
            accepted = {
                name: post(url, wav(channels=2), response_format=name).status_code
                for name in (*fields["response_format"]["enum"], "yaml")
            }
            mixed, separate, other = [
                post(url, wav(channels=2), channels=name).status_code
                for name in (*fields["channels"]["enum"], "left")
            ]

        assert accepted.pop("yaml") == other == 400
        assert {*accepted.values(), mixed, separate} == {200}
        assert list(accepted) == list(RESPONSE_FORMATS)

    def test_both_routes_take_it(self, document: Json) -> None:
        """The one for events, too."""
        paths = document["paths"]

        for path in (PATH, PATH + "/stream"):
            assert "requestBody" in paths[path]["post"]


def form_of(document: Json) -> Json:
    body = document["paths"][PATH]["post"]["requestBody"]["content"]
    schema = body["multipart/form-data"]["schema"]
    assert isinstance(schema, dict)
    return schema


def fields_text(fields: Json, name: str) -> str:
    return str(fields[name]["description"])


class TestAnswers:
    """What a server really answers is what the document says of that route."""

    @pytest.mark.parametrize("name", RESPONSE_FORMATS)
    def test_each_format(self, document: Json, name: str) -> None:
        """With all that may be asked for beside it."""
        more = {"include[]": "logprobs"} if name == "json" else {}
        files = {"file": ("upload", wav(channels=2))}
        data: Any = {"response_format": name, **more}
        if name == "verbose_json":
            data["timestamp_granularities[]"] = ["word", "segment"]
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = local.post(url + PATH, files=files, data=data)

        assert answer.status_code == 200
        is_as_described(document, answer, "POST", PATH)

    @pytest.mark.parametrize("path", [PATH, PATH + "/stream"])
    def test_events(self, document: Json, path: str) -> None:
        """Deltas, the end, and a failure instead of it."""
        words = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
        broken = ScriptedModel("hello world", failures=[None, None, ValueError()])
        files = {"file": ("upload", wav(300))}
        data = {"stream": "true"}
        speakers = {"response_format": "diarized_json"}
        two = {"file": ("upload", wav(channels=2))}
        with app_in_thread(settings(), ScriptedModel) as url:
            told = local.post(url + path, files=two, data=data | speakers, timeout=30)
            good = local.post(url + path, files=files, data=data, timeout=30)
            full = local.post(url + path, files=files, data=data | words, timeout=30)
        with app_in_thread(settings(batch_size=1), lambda: broken) as url:
            bad = local.post(url + path, files=files, data=data, timeout=30)

        assert events_of(good)[-1]["type"] == "transcript.text.done"
        assert "error" in events_of(bad)[-1]
        assert "words" in events_of(full)[0]
        assert "transcript.text.segment" in [each["type"] for each in events_of(told)]
        for answer in (good, full, told, bad):
            is_as_described(document, answer, "POST", path)

    @pytest.mark.parametrize(
        ("path", "template"),
        [
            ("/", "/"),
            ("/health", "/health"),
            ("/ready", "/ready"),
            ("/metrics", "/metrics"),
            ("/v1/models", "/v1/models"),
            ("/v1/models/whisper-1", "/v1/models/{name}"),
            ("/v1/models/another", "/v1/models/{name}"),
            ("/v1/languages?q=bambara", "/v1/languages"),
        ],
    )
    def test_what_may_be_read(self, document: Json, path: str, template: str) -> None:
        """Of every other route."""
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = local.get(url + path)

        is_as_described(document, answer, "GET", template)

    def test_the_page(self, document: Json) -> None:
        """Which browsers ask for at the same place."""
        with app_in_thread(settings(), ScriptedModel) as url:
            answer = local.get(url + "/", headers={"accept": "text/html"})

        assert answer.headers["content-type"].startswith("text/html")
        is_as_described(document, answer, "GET", "/")

    def test_a_key_for_a_web_page(self, document: Json) -> None:
        """Asked for as in the example, too long, and wrongly."""
        path = "/v1/realtime/client_secrets"
        body = document["paths"][path]["post"]["requestBody"]["content"]
        example = body["application/json"]["example"]
        validate(document, body["application/json"]["schema"], example)
        with app_in_thread(settings(), ScriptedModel) as url:
            answers = {
                None: local.post(url + path, json=example),
                "body_too_large": local.post(url + path, content=b" " * 70_000),
                "invalid_value": local.post(url + path, json={"session": 1}),
            }

        assert answers[None].status_code == 200
        for code, answer in answers.items():
            is_as_described(document, answer, "POST", path)
            assert code is None or answer.json()["error"]["code"] == code

    def test_subtitles(self, document: Json) -> None:
        """Asked for as in the examples, which are answered as in those of answers."""
        path = "/v1/audio/subtitles"
        operation = document["paths"][path]["post"]
        body = operation["requestBody"]["content"]["application/json"]
        asked = [example["value"] for example in body["examples"].values()]
        with app_in_thread(settings(), ScriptedModel) as url:
            answers = [local.post(url + path, json=example) for example in asked]
            wrong = local.post(url + path, json={"words": []})
            long = local.post(url + path, content=b" " * 20_000_001)

        shown = operation["responses"]["200"]["content"]
        for example, answer in zip(asked, answers, strict=True):
            validate(document, body["schema"], example)
            is_as_described(document, answer, "POST", path)
            media_type = answer.headers["content-type"].split(";")[0]
            assert answer.text == shown[media_type]["example"]
        assert len(answers) == len(shown)
        for code, answer in (("invalid_value", wrong), ("body_too_large", long)):
            is_as_described(document, answer, "POST", path)
            assert answer.json()["error"]["code"] == code

    def test_a_server_that_is_not_ready(self, document: Json) -> None:
        """Says so in three places, and when to come back."""
        may_load = threading.Event()

        def load() -> ScriptedModel:
            assert may_load.wait(30)
            return ScriptedModel()

        with app_in_thread(settings(), load, wait=False) as url:
            answers = [
                (local.get(url + "/ready"), "GET", "/ready"),
                (post(url), "POST", PATH),
            ]
            may_load.set()

        for answer, method, path in answers:
            assert answer.status_code == 503
            is_as_described(document, answer, method, path)


# A recording or a form that is refused, by the code of the refusal.
RECORDINGS: dict[str, bytes] = {
    "empty_audio": b"",
    "unsupported_audio": bytes(range(256)) * 9,
    "corrupt_audio": b"fLaC" + bytes(99),
    "no_audio_stream": video("mp4"),
    "audio_too_long": wav(6),
    "too_many_channels": wav(channels=3),
    "unsupported_sample_rate": wav(rate=96_000),
    # Two broadcasts, joined.
    "channels_changed": b"".join(
        encode("mp3", "libmp3lame", 44_100, (0.0, tone(44_100)), layout=layout)
        for layout in ("stereo", "mono")
    ),
    "file_too_large": wav(20),
}
FIELDS = {
    "invalid_value": {"response_format": "yaml"},
    "unsupported_language": {"languages[]": "xx"},
    "one_channel": {"channels": "separate"},
    "channels_changed": {"channels": "separate"},
    "model_not_found": {"model": "base"},
}
BODIES: dict[str, Json] = {
    "invalid_content_type": {"data": {"a": "b"}},
    "unsupported_content_encoding": {"headers": {"content-encoding": "gzip"}},
    "invalid_form": {
        "content": b"nonsense",
        "headers": {"content-type": "multipart/form-data; boundary=x"},
    },
    "missing_required_parameter": {"files": {"other": ("upload", b"")}},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that takes little."""
    limits = settings(
        max_audio_seconds=5, max_channels=2, max_sample_rate=48_000, max_upload_mb=0.5
    )
    with app_in_thread(limits, ScriptedModel) as url:
        yield url


class TestErrors:
    """Each that the document has an example of happens, and looks like it."""

    @pytest.mark.parametrize("code", [*RECORDINGS, *FIELDS, *BODIES])
    def test_what_a_client_does_wrong(
        self, document: Json, url: str, code: str
    ) -> None:
        """With the file, a field, or the whole form."""
        if code in BODIES:
            answer = local.post(url + PATH, **BODIES[code])
        else:
            answer = post(url, RECORDINGS.get(code), **FIELDS.get(code, {}))

        is_like_its_example(document, answer, code)

    def test_a_translation(self, document: Json, url: str) -> None:
        """Which these models do not make."""
        path = "/v1/audio/translations"

        answer = local.post(url + path)

        is_like_its_example(document, answer, "translation_not_supported", path=path)

    def test_no_key(self, document: Json) -> None:
        """The header says what kind is asked for."""
        with app_in_thread(settings(api_keys="me:a-key"), ScriptedModel) as url:
            refused = post(url)
            let_in = local.get(url + "/v1/models", headers=KEY)

        is_like_its_example(document, refused, "invalid_api_key")
        assert let_in.status_code == 200

    def test_too_many_wrong_keys(self, document: Json) -> None:
        """It says when to come back."""
        with app_in_thread(settings(api_keys="me:a-key"), ScriptedModel) as url:
            for n in range(WRONG_KEYS + 1):
                refused = local.post(url + PATH, headers={"api-key": f"guess{n}"})

        is_like_its_example(document, refused, "too_many_wrong_keys")

    @pytest.mark.parametrize(
        ("quota", "code"),
        [
            ({"quota_requests": 60}, "rate_limit_exceeded"),
            ({"quota_audio_minutes": 120}, "insufficient_quota"),
        ],
    )
    def test_more_than_a_share(
        self,
        document: Json,
        quota: dict[str, int],
        code: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It says when there is some again."""
        # As if a minute's requests, and an hour's audio, had just been used.
        monkeypatch.setattr(Allowance, "wait_s", lambda self, now, need: 1.0)
        with app_in_thread(settings(**quota), ScriptedModel) as url:
            refused = post(url)

        is_like_its_example(document, refused, code)

    def test_a_page_of_another_origin(self, document: Json) -> None:
        """It is told which one, and what its operator can do."""
        headers = {"origin": "https://page.example"}
        with app_in_thread(settings(), ScriptedModel) as url:
            refused = local.post(url + PATH, headers=headers)

        is_like_its_example(document, refused, "origin_not_allowed")

    def test_a_name_that_is_not_the_servers(self, document: Json) -> None:
        """Such as a name that an attacker lets point here."""
        headers = {"host": "page.example"}
        with app_in_thread(settings(), ScriptedModel) as url:
            refused = local.post(url + PATH, headers=headers)

        is_like_its_example(document, refused, "host_not_allowed")

    def test_an_upload_that_stops(self, document: Json) -> None:
        """For longer than the server waits."""
        with (
            app_in_thread(settings(max_idle_s=0.3), ScriptedModel) as url,
            half_an_upload(url, wav(10)) as connection,
        ):
            answer = answer_on(connection)

        is_like_its_example(document, answer, "request_timeout")

    def test_bad_luck(self, document: Json) -> None:
        """Of which clients learn nothing."""
        broken = ScriptedModel(failures=[ValueError("bad luck")])
        with app_in_thread(settings(), lambda: broken) as url:
            is_like_its_example(document, post(url), "internal_error")

    def test_too_much_to_do(self, document: Json) -> None:
        """One at the model, one waiting, and one too many."""
        model = ScriptedModel()
        model.may_run.clear()
        with (
            app_in_thread(settings(max_queue=1), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            pool.submit(post, url)
            assert model.running.wait(10)
            pool.submit(post, url)
            wait_for(lambda: health(url)["queued"] == 1)
            answer = post(url)
            model.may_run.set()

        is_like_its_example(document, answer, "overloaded")

    def test_all_that_the_parts_refuse_is_in_the_document(self) -> None:
        """A new kind of refusal needs an example, too."""
        assert {refusal.code for refusal in REFUSALS.values()} <= ERRORS.keys()

    def test_every_code_in_the_document_is_provoked_here(self) -> None:
        """And every one in the routes' source is in the document."""
        tested = {*RECORDINGS, *FIELDS, *BODIES, "translation_not_supported"}
        elsewhere = {
            "invalid_api_key",
            "origin_not_allowed",
            "host_not_allowed",
            "too_many_wrong_keys",
            "rate_limit_exceeded",
            "insufficient_quota",
            "internal_error",
            "overloaded",
            "request_timeout",
            "channels_changed",
            "no_room",
            "no_storage",
        }
        above = {"model_not_ready", "body_too_large"}

        assert tested | elsewhere | above == set(ERRORS)
        readers = ("api/forms.py", "api/bodies.py", "api/envelopes.py")
        routes = (
            "api/routes/transcriptions.py",
            "api/routes/client_secrets.py",
            "api/routes/subtitles.py",
        )
        for name in (*readers, *routes):
            assert codes_in(name) <= tested | elsewhere | above


def codes_in(name: str) -> set[str]:
    """The codes of the errors that a module raises itself."""
    return {
        keyword.value.value
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    }


def is_like_its_example(
    document: Json, answer: httpx.Response, code: str, *, path: str = PATH
) -> None:
    is_as_described(document, answer, "POST", path)
    example = document["components"]["examples"][code]["value"]["error"]
    error = answer.json()["error"]
    described = answer_to(document, answer, "POST", path)
    assert code in described["content"]["application/json"]["examples"]
    for name in ("type", "param", "code"):
        assert error[name] == example[name]
    assert alike(error["message"]) == alike(example["message"])


def alike(message: str) -> list[str]:
    """The words of a message, without what is this server's or this request's."""
    text = message.split("This server runs")[0]
    return [word for word in text.split() if word.isalpha()]


def is_as_described(
    document: Json, answer: httpx.Response, method: str, path: str
) -> None:
    """Hold an answer against the document: status, type, headers and body."""
    described = answer_to(document, answer, method, path)
    media_type = answer.headers["content-type"].split(";")[0]
    assert media_type in described["content"], media_type
    schema = described["content"][media_type]["schema"]
    read: dict[str, Callable[[], list[Any]]] = {
        "application/json": lambda: [answer.json()],
        "text/event-stream": lambda: list(events_of(answer)),
    }
    for value in read.get(media_type, lambda: [answer.text])():
        validate(document, schema, value)
    for name, reference in described["headers"].items():
        header = resolve(document, reference)
        if not header.get("required", True) and name not in answer.headers:
            continue
        sent: Any = answer.headers[name]
        if header["schema"]["type"] == "integer":
            sent = json.loads(sent)
        Draft202012Validator(header["schema"]).validate(sent)


def answer_to(document: Json, answer: httpx.Response, method: str, path: str) -> Json:
    found = document["paths"][path][method.lower()]["responses"]
    described = found[str(answer.status_code)]
    assert isinstance(described, dict)
    return described
