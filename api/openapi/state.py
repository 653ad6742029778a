"""Describe in `/openapi.json` what the server says of itself: models, its state."""

import schemas
from api.openapi.errors import RETRY_AFTER, Responses
from api.openapi.parts import answer, text
from schemas import Json

_NAME = "omniASR_CTC_300M_v2"
_MODEL = schemas.model(_NAME, created=1795610563, writes=False)
MODEL = answer("The model.", _MODEL)
MODELS = answer("The one model.", schemas.ModelList(data=[_MODEL]))
LANGUAGES = answer(
    "Languages; the best match first.",
    schemas.LanguageList(
        data=[
            schemas.Language(
                id="bam_Latn",
                tag="bm",
                name="Bambara",
                autonym="bamanakan",
                script="Latn",
                direction="ltr",
            )
        ]
    ),
)
ABOUT = answer(
    "What this is.",
    schemas.About(
        name="omniASR Streaming Server",
        version="0.1.0",
        description="Speech to text in 1600+ languages behind OpenAI's API.",
        model=_NAME,
        ready=True,
        limits=schemas.UploadLimits(max_upload_bytes=100_000_000, max_audio_s=21_600),
        endpoints={"POST /v1/audio/transcriptions": "Transcribe a recording"},
    ),
)
ABOUT["content"]["text/html"] = text("<!doctype html>")
HEALTH = answer(
    "The process is alive.",
    schemas.Health(
        ready=True,
        model=_NAME,
        loaded=True,
        device="cuda:0",
        dtype="bfloat16",
        requests=1,
        streams=3,
        free_streams=21,
        queued=0,
        overload_level=0,
        uptime_s=76.3,
        process="5f3a91c0",
    ),
)
READY: Responses = {
    200: answer(
        "Work may come.",
        schemas.Readiness(ready=True, stage="ready", elapsed_s=8.1),
        model=schemas.Readiness,
    ),
    503: answer(
        "No work should be sent: the model loads, the server stops, or the model gives "
        "no results, with the `reason`; or, if the operator wants that, no live "
        "stream has room.",
        schemas.Readiness(
            ready=False,
            stage="fetching the weights",
            elapsed_s=2.0,
            downloaded_bytes=104_857_600,
        ),
        model=schemas.Readiness,
        headers={"Retry-After": RETRY_AFTER},
    ),
}
METRICS: Json = {
    "description": "All series, in Prometheus' text format.",
    "content": {
        "text/plain": text(
            "# HELP omniasr_streams Live streams that are open.\n"
            "# TYPE omniasr_streams gauge\nomniasr_streams 3.0\n"
        )
    },
}
