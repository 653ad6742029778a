"""The ways to run the network that `throughput.py` compares.

Each is built from the same files by `prepare` and turns a clip into text. Each runs in
its own process, so that thread pools do not interfere and memory can be measured; one
process works while all others wait.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.networks import random_model
from engine.interface import ModelInput
from model import ASRModel
from network.architecture import ARCHITECTURES, CONVOLUTIONS, Architecture
from network.kernels import MakeLinear, arithmetic_for, maker_for
from network.tensors import Weights
from network.wav2vec2 import Wav2Vec2, reference_logits
from text import ctc
from text.ctc import FrameLabels
from weights import checkpoint
from weights.loading import LoadedModel
from weights.tokenizers import read_vocabulary

ARCH: Final = "300m_v2"
WEIGHTS: Final = "weights.pt"
TOKENIZER: Final = "tokenizer.model"
GRAPH: Final = "graph.onnx"
GRAPH_INT8: Final = "graph.int8.onnx"
WORK_DIR: Final = Path(tempfile.gettempdir()) / "omniasr-throughput"

# A product as the network has most of: as long as it is quickest.
_PRODUCT: Final = (512, 1024, 4096)
_PRODUCT_REPEATS: Final = 8

DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}

Transcribe = Callable[[Samples], str]
Clock = Callable[[], float]  # tells the time in seconds


def clock_for(threads: int) -> Clock:
    """Return the clock that measures a pass.

    For one thread it is processor time, which other programs hardly change. Several
    threads wait for each other, and that has to count, so for them it is wall-clock
    time.
    """
    return time.process_time if threads == 1 else time.perf_counter


def take_turns(
    runs: Mapping[str, Callable[[], object]], *, rounds: int, clock: Clock
) -> dict[str, float]:
    """Call everything once a round; return the median time of each, in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            began = clock()
            run()
            if round_number:  # the first warms up
                taken[name].append(clock() - began)
    return {name: median(times) for name, times in taken.items()}


@dataclass(frozen=True, slots=True)
class Run:
    """One clip through one contender.

    Attributes:
        seconds: Time from array to text; for a floor, time of its products.
        peak_bytes: Most memory the process held meanwhile; 0 if not known.
    """

    seconds: float
    text: str
    peak_bytes: int


def prepare(folder: Path, *, onnx: bool) -> None:
    """Write the model's files into a folder, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    n_labels = ARCHITECTURES[ARCH].n_labels
    (folder / TOKENIZER).write_bytes(random_model.stand_in_tokenizer(n_labels))
    if not (folder / WEIGHTS).exists():
        module = random_model.module_of(random_model.config_of(ARCH))
        torch.save({"model": module.state_dict()}, folder / WEIGHTS)
    if onnx and not (folder / GRAPH_INT8).exists():
        export(_fairseq2_module(folder, torch.float32), folder)


def export(module: Any, folder: Path) -> None:
    """Write fairseq2's module as a graph, and with 8-bit products beside it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            conv = self.module.encoder_frontend.pos_encoder.conv
            torch.nn.utils.remove_weight_norm(conv)

        def forward(self, waves: torch.Tensor) -> torch.Tensor:
            return random_model.logits_of(self.module, waves)

    torch.onnx.export(
        Logits().eval(),
        (torch.randn(1, 5 * SAMPLE_RATE),),
        str(folder / GRAPH),
        input_names=["waves"],
        output_names=["logits"],
        dynamic_axes={"waves": {1: "samples"}, "logits": {1: "frames"}},
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        folder / GRAPH,
        folder / GRAPH_INT8,
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
    )


def _fairseq2_module(folder: Path, dtype: torch.dtype) -> Any:
    config = random_model.config_of(ARCH)  # imports fairseq2, which "meta" breaks
    with torch.device("meta"):
        module = random_model.module_of(config)
    state = torch.load(folder / WEIGHTS, mmap=True, weights_only=True)["model"]
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    module.load_state_dict(state, assign=True)
    return module.eval()


def our_model(folder: Path, dtype: torch.dtype) -> ASRModel:
    """Build `ASRModel` as the server does, from files that `prepare` has written."""
    cpu, architecture = torch.device("cpu"), ARCHITECTURES[ARCH]
    arithmetic = arithmetic_for(cpu, dtype)
    with torch.inference_mode():
        state = checkpoint.read(folder / WEIGHTS, architecture)
        network = Wav2Vec2(Weights(state, cpu, arithmetic), architecture)
    del state  # mapped, it would count as memory in use

    def reference(wave: torch.Tensor) -> torch.Tensor:
        state = checkpoint.read(folder / WEIGHTS, architecture)
        return reference_logits(state, architecture, wave)

    loaded = LoadedModel(network, reference, read_vocabulary(folder / TOKENIZER))
    return ASRModel(loaded, name=ARCH, device=cpu, dtype=dtype)


def ours(folder: Path, dtype: torch.dtype, threads: int) -> Transcribe:
    """`ASRModel`, as the server runs it."""
    model = our_model(folder, dtype)

    def transcribe(clip: Samples) -> str:
        (frames,) = model.label_frames([ModelInput(clip)])
        return ctc.raw_text(ctc.tokens(frames, model.vocabulary))

    return transcribe


def pipeline(folder: Path, dtype: torch.dtype, threads: int) -> Transcribe:
    """`ASRInferencePipeline` as Meta ships it, called on an array."""
    module = _fairseq2_module(folder, dtype)
    from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline

    pipeline = ASRInferencePipeline(
        None,
        model=module,
        tokenizer=random_model.tokenizer_of(folder / TOKENIZER),
        device="cpu",
        dtype=dtype,
    )

    def transcribe(clip: Samples) -> str:
        audio = {"waveform": clip, "sample_rate": SAMPLE_RATE}
        with torch.inference_mode():
            text: str = pipeline.transcribe([audio], batch_size=1)[0]
        return text

    return transcribe


def onnx(folder: Path, dtype: torch.dtype, threads: int) -> Transcribe:
    """ONNX Runtime on the same network, or on its dynamically quantised products."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = GRAPH_INT8 if dtype == torch.int8 else GRAPH
    session = onnxruntime.InferenceSession(
        str(folder / graph), options, providers=["CPUExecutionProvider"]
    )
    vocabulary = read_vocabulary(folder / TOKENIZER)

    def transcribe(clip: Samples) -> str:
        normalised = functional.layer_norm(torch.tensor(clip), clip.shape).numpy()
        (logits,) = session.run(None, {"waves": normalised[None]})
        ids = logits[0].argmax(-1).astype(np.int32)
        ones = np.ones(len(ids), np.float32)
        tokens = ctc.tokens(FrameLabels(ids, ones, ones), vocabulary)
        return ctc.raw_text(tokens)

    return transcribe


@dataclass(frozen=True, slots=True)
class Floor:
    """What the products of a window take if each runs as fast as the fastest one."""

    make_linear: MakeLinear
    dtype: torch.dtype

    def seconds(self, n_samples: int, clock: Clock) -> float:
        return flops(ARCHITECTURES[ARCH], n_samples) / self.rate(clock)

    def rate(self, clock: Clock) -> float:
        """Measure how many operations a second the fastest product does."""
        n_rows, n_in, n_out = _PRODUCT
        dtype = torch.float32 if self.dtype == torch.int8 else self.dtype
        weight = torch.randn(n_out, n_in).to(dtype)
        layer = self.make_linear(weight, torch.zeros(n_out, dtype=dtype))
        rows = torch.randn(n_rows, n_in).to(dtype)
        times = []
        with torch.inference_mode():
            for _ in range(_PRODUCT_REPEATS):
                began = clock()
                layer(rows)
                times.append(clock() - began)
        return 2 * n_rows * n_in * n_out / float(np.median(times))


def floor_of(dtype: torch.dtype) -> Floor:
    """Return the floor of our network in one arithmetic."""
    return Floor(maker_for(torch.device("cpu"), dtype), dtype)


def flops(architecture: Architecture, n_samples: int) -> int:
    """Count the floating-point operations of a window's products."""
    return sum(flops_by_part(architecture, n_samples).values())


def flops_by_part(architecture: Architecture, n_samples: int) -> dict[str, int]:
    """Count the floating-point operations of the products in each part."""
    convolutions, length, before = 0, n_samples, 1
    for channels, (kernel, stride) in zip(
        architecture.channels, CONVOLUTIONS, strict=True
    ):
        length = (length - kernel) // stride + 1
        convolutions += 2 * length * kernel * before * channels
        before = channels
    dim, n, n_layers = architecture.model_dim, length, architecture.n_layers
    group = dim // architecture.n_position_groups
    return {
        "convolutions": convolutions,
        "projection": 2 * n * dim * before,
        "positional convolution": 2 * n * dim * group * architecture.position_kernel,
        "query, key, value": n_layers * 2 * n * 3 * dim * dim,
        "attention": n_layers * 4 * n * n * dim,
        "attention's output": n_layers * 2 * n * dim * dim,
        "feed-forward": n_layers * 4 * n * dim * architecture.ffn_dim,
        "head": 2 * n * dim * architecture.n_labels,
    }


def work(pipe: Connection, name: str, folder: Path, threads: int) -> None:
    """Build one contender and run what comes through the pipe, until None does."""
    torch.set_num_threads(threads)
    clock = clock_for(threads)
    kind, dtype_name = name.split("-")
    dtype = DTYPES[dtype_name]
    if kind == "floor":
        floor = floor_of(dtype)
    else:
        builders = {"ours": ours, "pipeline": pipeline, "onnx": onnx}
        transcribe = builders[kind](folder, dtype, threads)
    pipe.send("ready")
    while (clip := pipe.recv()) is not None:
        if kind == "floor":
            pipe.send(Run(floor.seconds(len(clip), clock), "", 0))
            continue
        _forget_peak()
        began = clock()
        text = transcribe(clip)
        pipe.send(Run(clock() - began, text, _peak_bytes()))


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system, or one that does not let us
        return


def _peak_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM"))
