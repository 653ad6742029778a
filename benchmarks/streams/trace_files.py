"""Keep the clients' messages, one file a stream, one line a message.

The first line describes the stream and its computing time; then come messages and
endpoints in their order. The figures are computed from these files, so they can be
computed again without another run.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.streams.traces import Endpoint, Message, Trace


@dataclass(frozen=True, slots=True)
class Run:
    """A stream that was run: what of it is kept besides the trace.

    Attributes:
        setup: Policy, profile and whether the client commits.
        offline: Words of each utterance, decoded whole.
        late_ms: How late each message of the client was sent; empty in simulated
            time.
        commit: Commit of the program that ran it.
    """

    suite: str
    stream: str
    setup: str
    offline: tuple[tuple[str, ...], ...]
    trace: Trace
    commit: str
    late_ms: tuple[float, ...] = ()


def write(path: Path, run: Run) -> None:
    """Write a run; the file is complete or not there."""
    head: dict[str, Any] = {
        "suite": run.suite,
        "stream": run.stream,
        "setup": run.setup,
        "commit": run.commit,
        "offline": run.offline,
        "flushes_s": run.trace.flushes_s,
        "encoded": run.trace.encoded,
        "encoded_quick": run.trace.encoded_quick,
        "n_windows": run.trace.n_windows,
        "compute_s": run.trace.compute_s,
        "late_ms": run.late_ms,
    }
    lines = [head]
    lines += [{"type": "message", **asdict(one)} for one in run.trace.messages]
    lines += [{"type": "endpoint", **asdict(one)} for one in run.trace.endpoints]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8"
    )
    partial.rename(path)


def read(path: Path) -> Run:
    """Read a run."""
    head, *rest = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    kinds: dict[str, list[Any]] = {"message": [], "endpoint": []}
    for line in rest:
        kinds[line.pop("type")].append(line)
    trace = Trace(
        messages=tuple(Message(**line) for line in kinds["message"]),
        endpoints=tuple(Endpoint(**line) for line in kinds["endpoint"]),
        flushes_s=tuple(head["flushes_s"]),
        encoded=head["encoded"],
        encoded_quick=head.get("encoded_quick", 0),
        n_windows=head["n_windows"],
        compute_s=head["compute_s"],
    )
    return Run(
        suite=head["suite"],
        stream=head["stream"],
        setup=head["setup"],
        offline=tuple(tuple(words) for words in head["offline"]),
        trace=trace,
        commit=head["commit"],
        late_ms=tuple(head["late_ms"]),
    )
