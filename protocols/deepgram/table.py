"""All parameters of Deepgram's URLs, and how each door treats them.

`docs/deepgram.md` has the same table.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum


class Door(Enum):
    """The three APIs, as columns of `PARAMETERS`."""

    FLUX = 0  # WS /v2/listen
    NOVA = 1  # WS /v1/listen
    RECORDINGS = 2  # POST /v1/listen


class Treatment(StrEnum):
    """How a parameter is treated."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"
    UNKNOWN = "-"  # Deepgram does not have it at this door; ignored, too


_H, _I, _R, _U = Treatment

PARAMETERS: Mapping[str, tuple[Treatment, Treatment, Treatment]] = {
    # The audio
    "encoding": (_H, _H, _H),
    "sample_rate": (_H, _H, _H),
    "channels": (_U, _R, _H),  # refused: more than one
    "multichannel": (_U, _I, _H),
    "container": (_U, _I, _I),
    # The model and the language
    "model": (_H, _H, _H),
    "version": (_U, _I, _I),
    "language": (_U, _I, _H),
    "language_hint": (_H, _I, _I),
    "detect_language": (_U, _I, _H),
    "keyterm": (_H, _H, _H),
    "keywords": (_U, _H, _H),
    # The times of events
    "eot_threshold": (_H, _U, _U),
    "eager_eot_threshold": (_H, _U, _U),
    "eot_timeout_ms": (_H, _U, _U),
    "interim_results": (_U, _H, _U),
    "endpointing": (_U, _H, _U),
    "utterance_end_ms": (_U, _H, _U),
    "vad_events": (_U, _H, _U),
    "no_delay": (_U, _I, _U),
    # How the text is laid out
    "utterances": (_U, _U, _H),
    "utt_split": (_U, _U, _H),
    "paragraphs": (_U, _U, _H),
    "punctuate": (_U, _I, _I),
    "smart_format": (_U, _I, _I),
    "numerals": (_I, _I, _I),
    "measurements": (_U, _I, _I),
    "dictation": (_U, _I, _I),
    "filler_words": (_U, _I, _I),
    "profanity_filter": (_I, _I, _I),
    "replace": (_U, _I, _I),
    # Analyses of the text
    "diarize": (_U, _I, _I),
    "diarize_model": (_U, _I, _I),
    "diarize_version": (_U, _I, _I),
    "search": (_U, _I, _I),
    "detect_entities": (_U, _I, _I),
    "detect_topics": (_U, _I, _I),
    "topics": (_U, _I, _I),
    "custom_topic": (_U, _I, _I),
    "custom_topic_mode": (_U, _I, _I),
    "intents": (_U, _I, _I),
    "custom_intent": (_U, _I, _I),
    "custom_intent_mode": (_U, _I, _I),
    "sentiment": (_U, _I, _I),
    "summarize": (_U, _I, _I),
    # Other effects
    "redact": (_R, _R, _R),
    "callback": (_U, _R, _R),
    "callback_method": (_U, _I, _I),
    "tag": (_I, _I, _H),
    "extra": (_U, _I, _H),
    "mip_opt_out": (_I, _I, _I),
}

# Ignored parameters without which the text differs from the client's expectation. The
# other ignored ones only change its form, or ask for the default.
WORTH_A_WARNING = (
    "detect_entities",
    "detect_topics",
    "diarize",
    "diarize_model",
    "dictation",
    "intents",
    "measurements",
    "multichannel",
    "numerals",
    "profanity_filter",
    "replace",
    "search",
    "sentiment",
    "smart_format",
    "summarize",
    "topics",
)
