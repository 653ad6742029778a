"""Say whether this machine and the chosen model will do, before clients depend on them.

    python -m tools.doctor          in a checkout and in the image
    omniasr-server doctor           from the wheel
    ... --model CARD --json         another model; an object for programs
    ... --partials CARD             another model for partials

It loads the model that the settings name, as the server does: fetches it, checks its
arithmetic, lets it hear a bundled recording of ten English digits, and measures how
long passes take. From that it forecasts how many people may speak at once, by the
server's own rule of admission, and names settings that would be better. The same holds
for the model of partials, if there is one.

Exit status: 0 if the model can be served, 1 if not, 2 if a setting is not allowed.
"""

import argparse
import json
import platform
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from api.loading import ModelLoader
from audio.samples import SAMPLE_RATE, Samples
from client.audio import BUNDLED, read_file
from config import Settings, describe_errors
from engine.interface import ModelInput, Overloaded
from engine.load import StreamLoad
from engine.loop_load import LoopLoad
from engine.rehearsal import rehearse, whole_pass
from engine.work_queue import batch_rules
from text import ctc
from weights.cards import ModelUnavailable

if TYPE_CHECKING:
    from model import ASRModel

SAID = "zero one two three four five six seven eight nine"
_NUMERALS = dict(zip("0123456789", SAID.split(), strict=True))

# Share of wrong words up to which the recording counts as heard.
_HEARD_WELL = 0.3

# Lengths of the measured windows, in seconds, and passes of each; the fastest counts.
_WINDOWS_S = (5, 30)
_PASSES = 3

# Length of the window of which batches are made, as the server rehearses.
_REHEARSAL_S = 4

# In the profile `captions`, the model's seconds for a second of speech, relative to its
# real-time factor: the most of any suite (docs/operations.md).
_ALL_PARTIALS = 9.6

# Of them, those of finals.
_FINALS = 1.2

# A real-time factor above which live text is rare on a CPU.
_SLOW = 0.1


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        model: MODEL_CARD.
        machine: The processor and the system.
        problems: Why the model cannot be served, or must not be trusted.
        loaded_s: Seconds from the beginning until the model could be used.
        device: Where it runs.
        dtype: Its data type.
        self_check_error: How far its logits are from float32 on the CPU, as a ratio.
        said: What the bundled recording says.
        heard: What the model wrote for it.
        word_error_ratio: Share of its words that are wrong.
        real_time_factors: Seconds of computing for a second of audio, by the length of
            the window in seconds.
        batch_real_time_factor: The same in a batch, as a busy server works.
        streams_with_all_partials: Speaking streams that get every partial.
        streams_admitted: Speaking streams that the server lets in; their partials are
            rarer, their finals in time.
        advice: Settings that would be better.
        partials: What was found of the model of PARTIALS_CARD, if there is one; its
            problems, streams and advice are the whole report's.
    """

    model: str
    machine: str
    problems: list[str] = field(default_factory=list)
    loaded_s: float | None = None
    device: str | None = None
    dtype: str | None = None
    self_check_error: float | None = None
    said: str = SAID
    heard: str | None = None
    word_error_ratio: float | None = None
    real_time_factors: dict[int, float] = field(default_factory=dict)
    batch_real_time_factor: float | None = None
    streams_with_all_partials: int | None = None
    streams_admitted: int | None = None
    advice: list[str] = field(default_factory=list)
    partials: "Report | None" = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine; print the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="what MODEL_CARD would name")
    parser.add_argument("--partials", help="what PARTIALS_CARD would name")
    parser.add_argument("--json", action="store_true", help="print an object")
    options = parser.parse_args(arguments)
    named = {"model_card": options.model, "partials_card": options.partials}
    try:
        settings = Settings(**{name: card for name, card in named.items() if card})
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)
        return 2
    report = examine(settings)
    if options.json:
        print(json.dumps(asdict(report), ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines_of(report)))
    return 1 if report.problems else 0


def examine(settings: Settings) -> Report:
    """Load the models, let them hear, measure them."""
    report = Report(settings.model_card, f"{platform.machine()}, {platform.platform()}")
    began = time.monotonic()
    try:
        model, quick = ModelLoader().load(
            settings, lambda stage: print(stage, file=sys.stderr)
        )
    except ModelUnavailable as error:
        report.problems.append(str(error))
        return report
    of_model = [(model, report)]
    if quick is not None:
        report.partials = Report(settings.partials_card, report.machine)
        of_model.append((quick, report.partials))
    for own, _ in of_model:
        deque(own.trials(), maxlen=0)
    loaded_s = round(time.monotonic() - began, 1)
    load = _idle_load(settings)
    if quick is not None:
        load.add_quick(apart=quick.device != model.device)
    for own, found in of_model:
        found.loaded_s = loaded_s
        _examine_one(own, settings, found, load, quick=own is quick)
    report.streams_admitted = admitted(load)
    fitting = with_all_partials(report)
    report.streams_with_all_partials = min(fitting, report.streams_admitted)
    if report.partials is not None:
        problems = report.partials.problems
        report.problems += [f"For partials: {problem}" for problem in problems]
    report.advice = advice_for(report, settings)
    return report


def _examine_one(
    model: "ASRModel",
    settings: Settings,
    found: Report,
    load: StreamLoad,
    *,
    quick: bool,
) -> None:
    """Let one model hear, and measure it."""
    found.device, found.dtype = model.device_name, model.dtype_name
    if model.self_check is not None:
        found.self_check_error = round(model.self_check.error, 5)
    _hear(model, found)
    _measure(model, settings, found, load, quick=quick)


def recording() -> Samples:
    """Return the bundled recording."""
    pcm = np.frombuffer(read_file(Path(BUNDLED)), np.int16)
    return np.asarray(pcm / 32768, np.float32)


def _hear(model: "ASRModel", report: Report) -> None:
    (frames,) = model.label_frames([ModelInput(recording())])
    text = ctc.raw_text(ctc.tokens(frames, model.vocabulary))
    report.heard = " ".join(text.split())
    report.word_error_ratio = round(word_errors(report.heard) / len(SAID.split()), 2)
    if not report.heard:
        report.problems.append(
            "The model heard nothing in a recording of ten spoken digits. Check that "
            "its weights and its configuration belong together."
        )


def word_errors(heard: str) -> int:
    """Count the words to change, add or take away to get what was said."""
    words = [
        _NUMERALS.get(word.strip(".,;!?"), word.strip(".,;!?"))
        for word in heard.lower().split()
    ]
    row = list(range(len(words) + 1))
    for n, said in enumerate(SAID.split(), start=1):
        before, row = row, [n]
        for k, word in enumerate(words, start=1):
            kept = before[k - 1] + (said != word)
            row.append(min(kept, before[k] + 1, row[k - 1] + 1))
    return row[-1]


def _idle_load(settings: Settings) -> StreamLoad:
    """Make the server's own, as if no stream were open."""
    # Idle: streams are forecast by the cost that a server assumes at its start.
    loop = LoopLoad()
    loop.note_second(0.0, passed_s=1.0, taken_s=0.0, late_s=0.0)
    return StreamLoad(
        min_streams=0,
        max_streams=settings.max_streams,
        file_share=settings.file_share,
        loop=loop,
    )


def _measure(
    model: "ASRModel",
    settings: Settings,
    report: Report,
    load: StreamLoad,
    *,
    quick: bool,
) -> None:
    speech = recording()
    for seconds in _WINDOWS_S:
        window = ModelInput(np.resize(speech, seconds * SAMPLE_RATE))
        taken = _fastest(model, window)
        report.real_time_factors[seconds] = float(f"{taken / seconds:.3g}")
    rules = batch_rules(
        model.traits.device_kind,
        max_windows=settings.batch_size,
        max_samples=model.traits.max_batch_samples,
    )
    window = ModelInput(np.zeros(_REHEARSAL_S * SAMPLE_RATE, np.float32))
    batch = whole_pass(window, rules)
    audio_s = len(batch) * _REHEARSAL_S
    found = rehearse(model.label_frames, batch, time.perf_counter)
    passes = [seconds for seconds in found if seconds is not None]
    report.batch_real_time_factor = float(f"{min(passes) / audio_s:.3g}")
    for seconds_taken in passes:
        load.note_rehearsal(audio_s, 0.0, seconds_taken, quick=quick)


def with_all_partials(report: Report) -> int:
    """Count the speaking streams for whose partials and finals there is time."""
    cost, quick = report.batch_real_time_factor, report.partials
    assert cost is not None, "the model was measured"
    if quick is None or quick.batch_real_time_factor is None:
        return int(1 / (_ALL_PARTIALS * cost))
    finals = _FINALS * cost
    partials = (_ALL_PARTIALS - _FINALS) * quick.batch_real_time_factor
    apart = quick.device != report.device
    return int(1 / (max(partials, finals) if apart else partials + finals))


def _fastest(model: "ASRModel", window: ModelInput) -> float:
    model.label_frames([window])  # which also allocates memory
    times = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        model.label_frames([window])
        times.append(time.perf_counter() - began)
    return min(times)


def admitted(load: StreamLoad) -> int:
    """Count the speaking streams that the server's own rule lets in."""
    with suppress(Overloaded):
        while True:
            load.admit(0.0)
    return load.n_streams


def advice_for(report: Report, settings: Settings) -> list[str]:
    """Name settings that would be better on this machine."""
    import torch

    from network.kernels import cpu_has_bfloat16

    advice = []
    on_cpu = report.device == "cpu"
    slow = report.real_time_factors.get(_WINDOWS_S[0], 0.0) > _SLOW
    if on_cpu and torch.cuda.is_available():
        advice.append("DEVICE=auto would use the GPU.")
    if on_cpu and report.dtype == "float32" and cpu_has_bfloat16():
        advice.append("DTYPE=auto would use bfloat16, which this processor computes.")
    elif on_cpu and slow and report.dtype != "int8":
        advice.append("DTYPE=int8 may be quicker here: run this again with it.")
    if on_cpu and settings.num_threads:
        advice.append("NUM_THREADS=0 would choose the fastest number of threads.")
    if on_cpu and slow:
        advice.append("A smaller model or a GPU would give live text more often.")
    streams = report.streams_admitted
    if streams is not None and streams < settings.min_streams:
        advice.append(
            f"MIN_STREAMS={max(1, streams)} would refuse streams whose finals would be "
            f"late; with {settings.min_streams} they are let in."
        )
    if not settings.keys() and settings.host not in ("127.0.0.1", "::1", "localhost"):
        advice.append("API_KEYS would keep strangers out, or HOST=127.0.0.1.")
    return advice


def lines_of(report: Report) -> list[str]:
    """Write the report for people."""
    lines = [f"Model     {report.model}", f"Machine   {report.machine}"]
    if report.loaded_s is not None:
        lines += _findings(report)
    if report.partials is not None:
        lines += [f"Partials  {report.partials.model}", *_findings(report.partials)]
    if report.streams_admitted is not None:
        lines.append(
            f"Streams   about {report.streams_with_all_partials} that speak at once "
            f"with all partials; {report.streams_admitted} with rarer ones, and finals "
            "in time"
        )
    lines += [f"Problem   {problem}" for problem in report.problems]
    lines += [f"Better    {advice}" for advice in report.advice]
    verdict = "cannot be served here" if report.problems else "can be served here"
    return [*lines, f"Result    {report.model} {verdict}."]


def _findings(report: Report) -> list[str]:
    lines = [
        f"Loaded    in {report.loaded_s:g} s, on {report.device} in {report.dtype}"
    ]
    if report.self_check_error is not None:
        lines.append(f"Checked   {report.self_check_error:.2%} off float32")
    lines.append(f"Said      {report.said}")
    lines.append(f"Heard     {report.heard}")
    if (report.word_error_ratio or 0) > _HEARD_WELL:
        lines.append(
            f"          {report.word_error_ratio:.0%} of the words are wrong. A model "
            "that knows no English may still be right."
        )
    for seconds, factor in report.real_time_factors.items():
        lines.append(
            f"Speed     {factor:g} s for a second of audio, in a window of {seconds} s"
        )
    lines.append(
        f"          {report.batch_real_time_factor:g} s in a batch, as on a busy server"
    )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
