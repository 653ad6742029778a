"""Train the bundled demo model from nothing, on two processor cores.

    python -m tools.train_demo_model --speech-dir recordings --work-dir work

The run is seeded and may be stopped at any time: called again with the same work
directory, it continues from its last checkpoint. `--minutes` is processor time of
one of the training threads, summed over all calls: a busy machine takes longer, and
learns the same. The learning rate follows a cosine over it. Batches depend on the
seed and the step alone; how many steps fit into the time depends on the machine.

    python -m tools.train_demo_model ... --start-from assets/demo/omniASR_CTC_demo.pt

trains finished weights further, without the curriculum.

A step has two parts, and each of two threads computes the gradient of one: twice
the audio in little more than the time of one, while two threads that share every
operation wait for each other. Another process draws the clips. Beside the CTC loss
of the text, the network learns halfway up to name the word in each frame, which a
composed clip knows.

The weights that are kept are an exponential moving average. A checkpoint is
chosen on recordings 46 to 49 and on synthetic voices kept for it, never on what
`benchmarks/accuracy.py` tests: recordings 0 to 4 are refused by name and the
held-out voices are heard only for the table at the end.

Needs Debian's espeak-ng and flite beside the server's own environment.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from audio.samples import SAMPLE_RATE, Samples
from tools.demo_model import network
from tools.demo_model.augment import non_speech, standardise
from tools.demo_model.clips import (
    PARTS,
    SHORT_STRINGS_UNTIL,
    UNKNOWN,
    Cast,
    Clips,
    Steps,
    evaluation_clips,
)
from tools.demo_model.export import export
from tools.demo_model.scoring import Errors, count_errors
from tools.demo_model.vocabulary import decode_greedily, encode, spell
from tools.demo_model.voices import (
    SELECTION,
    TEST_INDICES,
    MissingInput,
    Split,
    Voice,
    of_recordings,
    recorded_voices,
    strangers,
    synthetic_voices,
    vary,
)
from weights.devices import choose_dtype

Gradients: TypeAlias = tuple[Tensor, ...]

WARM_UP_STEPS: Final = 200
WORD_LOSS: Final = 0.5
DROPOUT: Final = 0.1
FINISH: Final = 0.75  # of the time; after it no frame is hidden and nothing dropped
AVERAGE_EVERY: Final = 5  # steps
SAVE_EVERY_S: Final = 150.0
EVALUATE_EVERY_S: Final = 1200.0
MAX_STEPS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of the command line."""

    speech_dir: Path
    work_dir: Path
    minutes: float
    seed: int
    threads: int
    rate: float
    start_from: Path | None
    leave_out: str | None
    export_dir: Path | None


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        description="Train the bundled demo model.",
        epilog="The recordings are the Free Spoken Digit Dataset, CC BY-SA 4.0: "
        "https://github.com/Jakobovski/free-spoken-digit-dataset, folder recordings/.",
    )
    add = parser.add_argument
    add("--speech-dir", type=Path, required=True, help="{digit}_{speaker}_{n}.wav")
    add("--work-dir", type=Path, required=True, help="checkpoints and voices")
    add("--minutes", type=float, default=100.0, help="processor time in all")
    add("--seed", type=int, default=1)
    add(
        "--threads",
        type=int,
        default=PARTS,
        choices=range(1, PARTS + 1),
        help="parts of a step at once (default: %(default)s)",
    )
    add("--rate", type=float, default=1.2e-3, help="highest learning rate")
    add("--start-from", type=Path, metavar="CHECKPOINT", help="train it further")
    add(
        "--leave-out",
        metavar="SPEAKER",
        help="train without this speaker, test on them",
    )
    add("--export-dir", type=Path, help="write the shipped files here at the end")
    return Options(**vars(parser.parse_args(arguments)))


class Trainer:
    """The network, its optimiser and its moving average; can be saved whole."""

    def __init__(self, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.model = network.create_model()
        self.first_step = 0
        if options.start_from is not None:
            state = torch.load(options.start_from, weights_only=True)["model"]
            self.model.load_state_dict({k: v.float() for k, v in state.items()})
            self.first_step = SHORT_STRINGS_UNTIL + 1
        self.word_head = network.WordHead()
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.parameters = [*self.model.parameters(), *self.word_head.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.native_bfloat16 = (
            choose_dtype("auto", torch.device("cpu")) != torch.float32
        )
        self.step = self.first_step
        self.rate = options.rate
        self.trained_s = 0.0
        self.best = math.inf
        self.budget_s = options.minutes * 60
        self.path = options.work_dir / "checkpoint.pt"
        self.seed, self.threads = options.seed, options.threads
        self._pool = ThreadPoolExecutor(
            self.threads, initializer=partial(torch.set_num_threads, 1)
        )

    def save(self) -> None:
        """Write everything a later call needs; a crash leaves the older file."""
        state = {
            "model": self.model.state_dict(),
            "word_head": self.word_head.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "trained_s": self.trained_s,
            "best": self.best,
        }
        unfinished = self.path.with_suffix(".partial")
        torch.save(state, unfinished)
        os.replace(unfinished, self.path)

    def resume(self) -> None:
        """Continue from the checkpoint of the work directory, if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.word_head.load_state_dict(state["word_head"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        self.trained_s = state["trained_s"]

    @property
    def progress(self) -> float:
        """Share of the time budget that is used, in [0, 1]."""
        return min(1.0, self.trained_s / self.budget_s)

    def learn(self, parts: Sequence[Clips]) -> float:
        """Take one step; return its loss, a mean over the parts."""
        rate = self.rate * 0.5 * (1 + math.cos(math.pi * self.progress))
        warm_up = min(1.0, (self.step - self.first_step + 1) / WARM_UP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * warm_up
        results = list(self._pool.map(self._differentiate, parts, range(len(parts))))
        gradients = zip(*(gradients for _, gradients in results), strict=True)
        for parameter, own in zip(self.parameters, gradients, strict=True):
            parameter.grad = torch.stack(own).mean(0)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            self._update_average()
        return sum(loss for loss, _ in results) / len(parts)

    def _differentiate(self, clips: Clips, part: int) -> tuple[float, Gradients]:
        """Return the loss of one part and its gradient by each parameter."""
        loss = self._loss(clips, part)
        return loss.item(), torch.autograd.grad(loss, self.parameters)

    def _loss(self, clips: Clips, part: int) -> Tensor:
        waves = torch.from_numpy(clips.waves)
        finishing = self.progress > FINISH
        hide = self.step > SHORT_STRINGS_UNTIL and not finishing
        mask = self._frame_mask(waves, part) if hide else None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.native_bfloat16):
            logits, middle = network.forward(
                self.model,
                waves,
                drop=_keep if finishing else self._dropout(part),
                frame_mask=mask,
            )
            word_logits = self.word_head(middle)
        spelling = _ctc(logits, [encode(spell(list(w))) for w in clips.words])
        naming = functional.cross_entropy(
            word_logits.float().transpose(1, 2),
            torch.from_numpy(clips.frame_labels),
            ignore_index=UNKNOWN,
        )
        return spelling + WORD_LOSS * naming

    def _dropout(self, part: int) -> Callable[[Tensor], Tensor]:
        """Return dropout with a generator of its own, whatever other threads draw."""
        seed = np.random.SeedSequence((self.seed, self.step, part)).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed[0]))
        kept = 1 - DROPOUT

        def drop(seqs: Tensor) -> Tensor:
            chosen = torch.empty_like(seqs).bernoulli_(kept, generator=generator)
            return seqs * chosen.div_(kept)

        return drop

    def _frame_mask(self, waves: Tensor, part: int) -> Tensor:
        """Hide spans of 3 to 8 frames, about one a second, from the encoder."""
        rng = np.random.default_rng((self.step, part + 1))
        n_frames = (waves.shape[1] - 400) // 320 + 1
        mask = np.zeros((len(waves), n_frames), bool)
        for row in mask:
            for start in rng.integers(n_frames, size=rng.poisson(n_frames / 60)):
                row[start : start + rng.integers(3, 9)] = True
        return torch.from_numpy(mask)

    def _update_average(self) -> None:
        """Move the average; it forgets within a tenth of the steps so far."""
        keep = min(0.996, 1 - 10 * AVERAGE_EVERY / (self.step + 10 * AVERAGE_EVERY))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)


def _keep(seqs: Tensor) -> Tensor:
    return seqs


def _ctc(logits: Tensor, targets: list[list[int]]) -> Tensor:
    """CTC loss of (N, frames, labels) logits, a mean over labels and clips."""
    return functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        torch.tensor([label for target in targets for label in target]).long(),
        torch.full((len(targets),), logits.shape[1]),
        torch.tensor([len(target) for target in targets]),
        zero_infinity=True,
    )


def transcribe(model: nn.Module, samples: Samples) -> str:
    """Recognise one clip whole."""
    waves = torch.from_numpy(standardise(samples[None]))
    with torch.inference_mode():
        logits, _ = network.forward(model, waves)
    return decode_greedily(logits[0].argmax(-1).tolist())


def measure(model: nn.Module, clips: Sequence[tuple[Samples, str]]) -> Errors:
    """Sum the word errors over clips."""
    return sum((count_errors(t, transcribe(model, s)) for s, t in clips), Errors())


def words_per_minute(model: nn.Module, *, minutes: int) -> float:
    """Count what the model hears in noise, hum, music and silence."""
    rng = np.random.default_rng(99)
    clips = [non_speech(10 * SAMPLE_RATE, rng) for _ in range(6 * minutes)]
    return sum(len(transcribe(model, clip).split()) for clip in clips) / minutes


@dataclass(frozen=True, slots=True)
class Sets:
    """Clips that are measured, by name; the first chooses the checkpoint."""

    selection: dict[str, list[tuple[Samples, str]]]
    final: dict[str, list[tuple[Samples, str]]]


def load_voices(options: Options) -> tuple[list[Voice], Sets]:
    """Return the voices to train on and the clips to measure on.

    Raises:
        MissingInput: Recordings or a synthesiser are not there.
    """
    work, leave_out = options.work_dir, options.leave_out
    kept = [i for i in range(50) if i not in TEST_INDICES and i not in SELECTION]
    selection = recorded_voices(
        options.speech_dir, indices=SELECTION, without=leave_out
    )
    human = recorded_voices(options.speech_dir, indices=kept)
    absent = [voice for voice in human if voice.name == leave_out]
    if leave_out and not absent:
        raise MissingInput(f"{options.speech_dir} has no recordings of {leave_out}")
    human = [voice for voice in human if voice.name != leave_out]
    synthetic = synthetic_voices(work / "voices", Split.TRAINING)
    unheard = synthetic_voices(work / "selection-voices", Split.SELECTION)
    sets = {
        "recordings 46-49": evaluation_clips(selection, count=100, seed=7),
        "selection voices": evaluation_clips(unheard, count=110, seed=8),
    }
    final = {}
    if absent:
        final[f"left-out {leave_out}"] = evaluation_clips(absent, count=200, seed=9)
    held_out = synthetic_voices(work / "held-out-voices", Split.HELD_OUT)
    for language in sorted({voice.language for voice in held_out}):
        own = [voice for voice in held_out if voice.language == language]
        final[f"held-out {language}"] = evaluation_clips(own, count=60, seed=10)
    speakers = [voice for voice in (*human, *synthetic) if of_recordings(voice)]
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(strangers, speakers, repeat(options.seed))
        others = [other for group in found for other in group]
    for voice in human:
        vary(voice, options.seed)
    return [*human, *others, *synthetic], Sets(sets, final)


def evaluate(trainer: Trainer, sets: Sets, judge: nn.Module) -> None:
    """Report the averaged weights, and keep them if they are the best so far."""
    judge.load_state_dict(trainer.average)
    errors = {name: measure(judge, clips) for name, clips in sets.selection.items()}
    rate = sum(e.rate for e in errors.values()) / len(errors)
    line = "  ".join(f"{name} {100 * e.rate:.2f} %" for name, e in errors.items())
    print(f"   evaluation: {line}", flush=True)
    if rate <= trainer.best:
        trainer.best = rate
        torch.save(trainer.average, trainer.path.with_name("best.pt"))


def train(trainer: Trainer, cast: Cast, sets: Sets, seed: int) -> None:
    """Run to the end of the time budget."""
    judge = network.create_model().eval()
    saved = evaluated = time.monotonic()
    before = trainer.trained_s
    losses = []
    for parts in _loader(cast, seed, trainer.step):
        began = time.process_time()
        losses.append(trainer.learn(parts))
        trainer.trained_s += (time.process_time() - began) / trainer.threads
        now = time.monotonic()
        if trainer.step % 100 == 0:
            pace = (trainer.trained_s - before) / len(losses)
            print(
                f"step {trainer.step}  {trainer.trained_s / 60:.1f} of "
                f"{trainer.budget_s / 60:.0f} min  loss {np.mean(losses[-100:]):.4f}"
                f"  {pace:.3f} s a step",
                flush=True,
            )
        if now - evaluated > EVALUATE_EVERY_S:
            evaluate(trainer, sets, judge)
            evaluated = time.monotonic()
        if now - saved > SAVE_EVERY_S:
            trainer.save()
            saved = time.monotonic()
        if trainer.trained_s >= trainer.budget_s:
            break
    trainer.save()
    evaluate(trainer, sets, judge)


def _loader(cast: Cast, seed: int, first: int) -> Iterator[list[Clips]]:
    loader = DataLoader(
        Steps(cast, seed),
        batch_size=None,
        sampler=range(first, MAX_STEPS),
        num_workers=1,
        prefetch_factor=8,
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )
    return iter(loader)


def print_table(path: Path, sets: Sets) -> None:
    """Measure the chosen weights on everything held out."""
    model = network.create_model().eval()
    weights: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict({name: value.half() for name, value in weights.items()})
    print(f"\n{'set':24}{'words':>7}{'WER %':>8}")
    for name, clips in (sets.selection | sets.final).items():
        errors = measure(model, clips)
        print(f"{name:24}{errors.words:7}{100 * errors.rate:8.2f}", flush=True)
    print(f"words a minute on non-speech: {words_per_minute(model, minutes=10):.2f}")


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    try:
        voices, sets = load_voices(options)
    except MissingInput as error:
        raise SystemExit(str(error)) from error
    trainer = Trainer(options)
    trainer.resume()
    print(f"{len(voices)} voices; from step {trainer.step}", flush=True)
    if trainer.trained_s < trainer.budget_s:
        train(trainer, Cast(voices), sets, options.seed)
    best = trainer.path.with_name("best.pt")
    print_table(best, sets)
    if options.export_dir is not None:
        export(best, options.export_dir)


if __name__ == "__main__":
    main(sys.argv[1:])
