"""Loading a model, choosing its arithmetic, and what is said when that fails."""

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import model as model_module
from audio.frames import MAX_WINDOW_SAMPLES, n_frames
from audio.samples import Samples
from benchmarks.corpus import composer
from engine.interface import (
    CacheKey,
    Decoding,
    ModelInput,
    Normalisation,
    WindowTooLong,
)
from model import ASRModel
from network import threads
from network.extractor import Extractor
from network.wav2vec2 import PositionalConvolution
from text import ctc
from weights import cards, loading
from weights.cards import ModelUnavailable
from weights.devices import choose_device, choose_dtype

DEMO = cards.ASSETS / "demo"

MakeCard = Callable[..., Path]


@pytest.fixture
def make_card(tmp_path: Path) -> MakeCard:
    """Write a folder with a copy of the demo card, some of its lines changed."""

    def make(**changes: str) -> Path:
        folder = tmp_path / "cards"
        shutil.copytree(DEMO, folder)
        text = (folder / "omniASR_CTC_demo.yaml").read_text()
        text = text.replace("name: omniASR_CTC_demo", "name: my_digits")
        text = text.replace("omniASR_tokenizer_demo", "my_tokenizer")
        for field, value in changes.items():
            lines = text.splitlines()
            hits = [line for line in lines if line.strip().startswith(f"{field}:")]
            assert hits, field
            text = text.replace(hits[-1], hits[-1].split(":")[0] + f": {value}")
        (folder / "omniASR_CTC_demo.yaml").write_text(text)
        return folder

    return make


def load(folder: Path, **options: Any) -> ASRModel:
    options = {"device": "cpu", "dtype": "float32", **options}
    return ASRModel.load("my_digits", model_dir=folder, **options)


class TestCards:
    def test_a_copy_under_another_name_is_served_from_a_folder(
        self, make_card: MakeCard, demo_model: ASRModel
    ) -> None:
        """Nothing but the name and the path tells the demo model apart."""
        copy = load(make_card())
        clip = np.pad(
            composer.load(speakers=("jackson",), indexes=(0,))[3].samples, 4800
        )

        ours, copied = (
            demo_model.label_frames([ModelInput(clip)]),
            copy.label_frames([ModelInput(clip)]),
        )

        assert copy.name == "my_digits"
        assert ours[0].ids.any()
        assert (ours[0].ids == copied[0].ids).all()
        assert copy.spike_offsets == demo_model.spike_offsets

    def test_an_unknown_name_is_answered_with_near_ones(self) -> None:
        """And with all there are."""
        with pytest.raises(ModelUnavailable) as error:
            ASRModel.load("omniASR_CTC_300m")

        assert "'omniASR_CTC_300m'" in str(error.value)
        assert "Did you mean omniASR_CTC_300M" in str(error.value)

    def test_a_model_of_another_family_is_refused(self) -> None:
        """The LLM variants have a card too."""
        with pytest.raises(ModelUnavailable, match=r"wav2vec2_llama.*CTC models"):
            ASRModel.load("omniASR_LLM_300M_v2")

    def test_a_card_that_is_no_yaml_is_named(self, tmp_path: Path) -> None:
        """Whatever its author meant."""
        (tmp_path / "odd.yaml").write_text("name: [unclosed")

        with pytest.raises(ModelUnavailable, match=r"odd\.yaml"):
            load(tmp_path)

    def test_a_name_that_is_taken_is_reported(self, tmp_path: Path) -> None:
        """A folder may not redefine a released card."""
        shutil.copytree(DEMO, tmp_path / "cards")

        with pytest.raises(ModelUnavailable, match="exists in both"):
            load(tmp_path / "cards")


class TestFiles:
    def test_a_missing_checkpoint_is_named(self, make_card: MakeCard) -> None:
        """With the path where it was looked for."""
        folder = make_card()
        (folder / "omniASR_CTC_demo.pt").unlink()

        with pytest.raises(ModelUnavailable, match=r"missing: .*omniASR_CTC_demo\.pt"):
            load(folder)

    @pytest.mark.parametrize("size", [0, 1000, 4_000_000])
    def test_a_truncated_checkpoint_is_named(
        self, make_card: MakeCard, size: int
    ) -> None:
        """As an interrupted copy leaves it."""
        folder = make_card()
        checkpoint = folder / "omniASR_CTC_demo.pt"
        checkpoint.write_bytes(checkpoint.read_bytes()[:size])

        with pytest.raises(ModelUnavailable, match=r"omniASR_CTC_demo\.pt"):
            load(folder)

    def test_a_checkpoint_of_another_shape_is_named(self, make_card: MakeCard) -> None:
        """The card and the file do not belong together."""
        with pytest.raises(ModelUnavailable, match="my_digits cannot be loaded"):
            load(make_card(model_dim="384"))

    def test_a_card_that_describes_no_model_is_named(self, make_card: MakeCard) -> None:
        """Twelve groups do not divide 200 channels."""
        with pytest.raises(
            ModelUnavailable,
            match=r"card my_digits describes no.*num_pos_conv_groups is 12",
        ):
            load(make_card(model_dim="200"))

    def test_a_card_for_a_network_that_is_not_computed_is_named(
        self, make_card: MakeCard
    ) -> None:
        """Rather than computed without its rotary positions."""
        with pytest.raises(ModelUnavailable, match="pos_encoder_type is rotary"):
            load(make_card(layer_drop_p="0.0\n    pos_encoder_type: rotary"))

    def test_a_checkpoint_that_holds_code_is_not_run(
        self, make_card: MakeCard, tmp_path: Path
    ) -> None:
        """A pickle from a stranger may do anything; ours are tensors."""
        folder = make_card()
        trace = tmp_path / "trace"
        torch.save({"model": Mischief(trace)}, folder / "omniASR_CTC_demo.pt")

        with pytest.raises(ModelUnavailable, match=r"omniASR_CTC_demo\.pt"):
            load(folder)

        assert not trace.exists()

    def test_a_tokenizer_of_another_model_is_refused(self, make_card: MakeCard) -> None:
        """Labels without a text would go missing in silence."""
        folder = make_card(target_vocab_size="64")
        state = torch.load(folder / "omniASR_CTC_demo.pt")
        head = state["model"]
        for name in ("final_proj.weight", "final_proj.bias"):
            extra = torch.zeros(6, *head[name].shape[1:], dtype=head[name].dtype)
            head[name] = torch.cat([head[name], extra])
        torch.save(state, folder / "omniASR_CTC_demo.pt")

        with pytest.raises(ModelUnavailable, match=r"58 pieces.*64 labels"):
            load(folder)

    def test_a_tokenizer_that_is_none_is_named(self, make_card: MakeCard) -> None:
        """Not the checkpoint, which is fine."""
        folder = make_card()
        (folder / "omniASR_CTC_demo_tokenizer.model").write_bytes(b"nonsense")

        with pytest.raises(ModelUnavailable, match=r"tokenizer.*nothing|_tokenizer"):
            load(folder)


class TestDownloads:
    def test_a_failure_says_what_was_tried_and_where_to_put_the_file(
        self,
        make_card: MakeCard,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """And a file put there is served, without any network."""
        monkeypatch.setenv("FAIRSEQ2_CACHE_DIR", str(tmp_path / "cache"))
        url = "http://127.0.0.1:9/weights.pt"
        folder = make_card(checkpoint=url)

        with pytest.raises(ModelUnavailable) as error:
            load(folder)
        lines = str(error.value).splitlines()
        by_hand = Path(next(line for line in lines if line.startswith("  ")).strip())
        by_hand.parent.mkdir(parents=True)
        shutil.copy(DEMO / "omniASR_CTC_demo.pt", by_hand)
        model = load(folder)

        assert url in lines[0]
        assert "MODEL_CARD=omniASR_CTC_demo" in lines[-1]
        assert model.name == "my_digits"


class TestMemory:
    def test_a_model_that_does_not_fit_is_refused_before_it_is_read(
        self, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With what it needs, what there is, and what to change."""
        monkeypatch.setattr(loading, "free_memory", lambda device: 300 << 20)

        with pytest.raises(ModelUnavailable, match="not enough memory") as error:
            load(make_card())

        for part in ("my_digits", "0.4 GiB", "0.3 GiB are free", "MODEL_CARD"):
            assert part in str(error.value)

    def test_free_memory_is_what_the_machine_has(self) -> None:
        """More than nothing, and finite."""
        assert 1 << 20 < loading.free_memory(torch.device("cpu")) < 1 << 50


class TestDevices:
    def test_auto_takes_the_best_there_is(self) -> None:
        """CUDA, then MPS, then the CPU."""
        best = "cpu"
        if torch.cuda.is_available():
            best = "cuda"
        elif torch.backends.mps.is_available():
            best = "mps"

        assert choose_device("auto").type == best

    @pytest.mark.parametrize("device", ["cuda:99", "mps", "cuda"])
    def test_a_device_that_is_not_there_is_an_error(self, device: str) -> None:
        """At start-up, with the way out."""
        if device == "cuda" and torch.cuda.is_available():
            assert choose_device(device).type == "cuda"
        elif device == "mps" and torch.backends.mps.is_available():
            assert choose_device(device).type == "mps"
        else:
            with pytest.raises(ModelUnavailable, match=f"DEVICE={device}.*DEVICE=cpu"):
                choose_device(device)

    def test_a_dtype_can_be_chosen(self) -> None:
        """Or is what the processor computes natively."""
        cpu = torch.device("cpu")

        assert choose_dtype("float16", cpu) is torch.float16
        assert choose_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
        assert choose_dtype("auto", torch.device("mps")) is torch.float32

    def test_8_bit_layers_are_for_cpus(
        self, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And are never taken unless asked for."""
        folder = make_card()
        model = load(folder, dtype="int8")
        gone = torch.device("meta")
        monkeypatch.setattr(model_module, "choose_device", lambda device: gone)

        assert model.dtype_name == "int8"
        assert choose_dtype("auto", torch.device("cpu")) is not torch.int8
        with pytest.raises(ModelUnavailable, match=r"DTYPE=int8.*DTYPE=auto"):
            load(folder, dtype="int8")


class TestThreads:
    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)

    def test_the_number_is_set(self, make_card: MakeCard) -> None:
        """NUM_THREADS, where the operator knows better."""
        load(make_card(), num_threads=1)

        assert torch.get_num_threads() == 1

    def test_none_means_no_more_than_usable_cores(
        self, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A container's, not the host's."""
        monkeypatch.setattr(threads, "usable_cores", lambda: 3)
        torch.set_num_threads(64)

        load(make_card())

        assert torch.get_num_threads() == 3

    def test_the_quickest_number_is_chosen_and_labels_stay(
        self, make_card: MakeCard, caplog: pytest.LogCaptureFixture
    ) -> None:
        """From what passes take, here and now."""
        clip = composer.load(speakers=("lucas",), indexes=(2,))[5].samples
        torch.set_num_threads(2)
        model = load(make_card(), num_threads=2)
        (before,) = model.label_frames([ModelInput(clip)])

        with caplog.at_level(logging.INFO):
            model.adapt_threads()
            deque(model.trials(), maxlen=0)
        (after,) = model.label_frames([ModelInput(clip)])

        assert (before.ids == after.ids).all()
        assert "Threads of a pass: " in caplog.text
        assert "ms with 2" in caplog.text
        assert torch.get_num_threads() in (1, 2)

    def test_one_thread_is_nothing_to_choose_from(
        self, make_card: MakeCard, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nor are there threads to choose where another device computes."""
        model = load(make_card(), num_threads=1)

        with caplog.at_level(logging.INFO):
            model.adapt_threads()
            deque(model.trials(), maxlen=0)
            torch.set_num_threads(2)
            model.device = torch.device("meta")
            model.adapt_threads()
            deque(model.trials(), maxlen=0)

        assert "Threads of a pass" not in caplog.text


class TestSelfCheck:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
    def test_right_arithmetic_passes(self, make_card: MakeCard, dtype: str) -> None:
        """Far below the tolerance, and nearly every label is the same."""
        check = load(make_card(), dtype=dtype, on_failed_check="stop").self_check

        assert check is not None
        assert check.error < 0.05
        assert check.agreement > 0.9

    def test_a_kernel_that_returns_garbage_is_noticed_and_float32_used(
        self,
        make_card: MakeCard,
        broken_kernel: None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """As oneDNN's grouped convolution in bfloat16 was seen to do."""
        with caplog.at_level(logging.ERROR):
            model = load(make_card(), dtype="bfloat16")

        assert model.dtype is torch.float32
        assert "bfloat16 on cpu differs from float32" in caplog.text

    def test_or_the_server_stops(
        self, make_card: MakeCard, broken_kernel: None
    ) -> None:
        """SELF_CHECK=stop."""
        with pytest.raises(ModelUnavailable, match="start-up check of my_digits"):
            load(make_card(), dtype="bfloat16", on_failed_check="stop")

    def test_a_kernel_that_is_wrong_on_some_processors_is_not_used(
        self, make_card: MakeCard
    ) -> None:
        """With 12 channels a group, where oneDNN in bfloat16 on AMX is wrong."""
        groups, width = 16, 12
        folder = make_card(num_pos_conv_groups=str(groups))
        state = torch.load(folder / "omniASR_CTC_demo.pt")
        name = "encoder_frontend.pos_encoder.conv.weight_v"
        assert state["model"][name].shape[1] == 16
        # Large enough to matter.
        state["model"][name] = 30 * state["model"][name][:, :width].clone()
        state["model"][name.replace("_v", "_g")] *= 30
        torch.save(state, folder / "omniASR_CTC_demo.pt")

        model = load(folder, dtype="bfloat16", on_failed_check="stop")

        assert model.dtype is torch.bfloat16
        assert model.self_check is not None
        assert model.self_check.error < 0.05

    def test_weights_are_as_they_were_after_the_check(
        self, make_card: MakeCard
    ) -> None:
        """It reads the checkpoint's once more, and touches none of the model's."""
        model = load(make_card(), dtype="bfloat16")
        clip = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)

        before = model.logits([ModelInput(clip)])[0]
        model.check_arithmetic()
        after = model.logits([ModelInput(clip)])[0]

        assert after.dtype is torch.bfloat16
        assert torch.equal(before, after)

    @pytest.fixture
    def broken_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the grouped convolution return garbage in bfloat16, silently."""
        right = PositionalConvolution.__call__

        def wrong(self: PositionalConvolution, frames: torch.Tensor) -> torch.Tensor:
            output = right(self, frames)
            if output.dtype is torch.bfloat16:
                return output.flip(-1) * 1.5
            return output

        monkeypatch.setattr(PositionalConvolution, "__call__", wrong)


class TestWindows:
    def test_windows_too_short_for_a_frame_have_none(
        self, demo_model: ASRModel
    ) -> None:
        """Alone and among others."""
        tiny = ModelInput(np.zeros(399, np.float32))
        one, none = ModelInput(np.ones(400, np.float32)), ModelInput(tiny.samples[:0])

        frames = demo_model.label_frames([tiny, one, none])

        assert [len(window.ids) for window in frames] == [0, 1, 0]
        assert demo_model.label_frames([tiny]) == [model_module._NO_FRAMES]
        asked = replace(tiny, decoding=Decoding(n_best=3))
        (alone,) = demo_model.label_frames([asked])
        beside = demo_model.label_frames([one, asked])[1]
        for frames_of_none in (alone, beside):
            assert frames_of_none.alternatives is not None
            assert frames_of_none.alternatives.ids.shape == (0, 3)

    def test_a_window_longer_than_the_model_takes_is_refused(
        self, demo_model: ASRModel
    ) -> None:
        """Forty seconds, as upstream."""
        samples = np.zeros(MAX_WINDOW_SAMPLES + 1, np.float32)

        with pytest.raises(WindowTooLong, match="40 s"):
            demo_model.label_frames([ModelInput(samples)])

    def test_a_normalisation_is_applied_instead_of_the_windows_own(
        self, demo_model: ASRModel
    ) -> None:
        """A window's own says the same; another one something else."""
        clip = composer.load(speakers=("george",), indexes=(1,))[7].samples
        own = Normalisation(float(clip.mean()), float(clip.std()))
        other = Normalisation(0.3, 2 * own.std)

        plain = demo_model.logits([ModelInput(clip)])[0]
        same = demo_model.logits([ModelInput(clip, normalisation=own)])[0]
        changed = demo_model.logits([ModelInput(clip, normalisation=other)])[0]

        assert (plain.float() - same.float()).abs().max() < 0.1
        assert (plain.float() - changed.float()).abs().max() > 1

    def test_probabilities_are_probabilities(self, demo_model: ASRModel) -> None:
        """And that of a blank frame is its blank probability."""
        clip = composer.load(speakers=("george",), indexes=(1,))[7].samples

        (frames,) = demo_model.label_frames([ModelInput(clip)])

        assert ((frames.probs > 0) & (frames.probs <= 1)).all()
        blank = frames.ids == ctc.BLANK
        assert blank.any()
        assert not blank.all()
        assert frames.probs[blank] == pytest.approx(frames.blank_probs[blank])
        assert (frames.blank_probs[~blank] <= frames.probs[~blank]).all()


NORMALISATION = Normalisation(0.0, 0.1)


class TestCacheKeys:
    def test_windows_of_an_utterance_say_the_same_with_and_without(
        self, demo_model: ASRModel
    ) -> None:
        """They grow, then slide, then shrink; logits agree to 1e-4."""
        utterance = composer.load(speakers=("george",), indexes=(1,))
        samples = np.concatenate([recording.samples for recording in utterance])
        key = CacheKey()
        ends = (3_000, 16_000, 21_337, 40_000, 40_000, 56_000, 47_000)
        starts = (0, 0, 0, 320, 6_400, 9_600, 32_000)

        for start, end in zip(starts, ends, strict=True):
            part = samples[start:end]
            cached = ModelInput(part, start, NORMALISATION, key)
            plain = ModelInput(part, start, NORMALISATION)
            ours, reference = (demo_model.logits([w])[0] for w in (cached, plain))

            assert (ours - reference).abs().max() <= 1e-4
            assert len(ours) == n_frames(len(part))

    def test_a_batch_may_mix_windows_with_and_without(
        self, demo_model: ASRModel
    ) -> None:
        """Each window gets its own frames."""
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(32_000).astype(np.float32) / 10
        keys = [CacheKey() for _ in range(2)]
        for key in keys:
            demo_model.logits([ModelInput(noise[:16_000], 0, NORMALISATION, key)])
        batch = [
            ModelInput(noise, 0, NORMALISATION, keys[0]),
            ModelInput(noise[:9_999]),
            ModelInput(noise[3_200:16_000], 3_200, NORMALISATION, keys[1]),
        ]

        together = demo_model.logits(batch)

        for window, logits in zip(batch, together, strict=True):
            alone = ModelInput(window.samples, normalisation=window.normalisation)
            assert (logits - demo_model.logits([alone])[0]).abs().max() <= 1e-4

    def test_only_new_frames_are_computed(
        self, demo_model: ASRModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those of the last 0.3 s, not of all 4 s; none, if none is new."""
        seen: list[int] = []
        right = Extractor.__call__

        def counting(self: Extractor, waves: Any) -> torch.Tensor:
            features = right(self, waves)
            seen.append(len(features))
            return features

        monkeypatch.setattr(Extractor, "__call__", counting)
        samples = np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
        key = CacheKey()

        for start in (0, 4_800, 4_800):
            window = samples[start : start + 64_000]
            demo_model.label_frames([ModelInput(window, start, NORMALISATION, key)])

        assert seen == [199, 15]

    @pytest.mark.parametrize(
        ("position", "normalisation"),
        [
            (0, Normalisation(0.0, 0.2)),
            (320_000, NORMALISATION),
            (-3_200, NORMALISATION),
        ],
        ids=["another normalisation", "a gap", "an earlier window"],
    )
    def test_features_of_something_else_are_not_used(
        self, demo_model: ASRModel, position: int, normalisation: Normalisation
    ) -> None:
        """They say nothing about this window."""
        samples = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
        key = CacheKey()
        demo_model.logits([ModelInput(samples, 0, NORMALISATION, key)])
        window = ModelInput(samples[::-1].copy(), position, normalisation, key)

        ours = demo_model.logits([window])[0]

        plain = ModelInput(window.samples, normalisation=normalisation)
        assert (ours - demo_model.logits([plain])[0]).abs().max() <= 1e-4

    def test_a_window_that_begins_between_frames_is_refused(
        self, demo_model: ASRModel
    ) -> None:
        """Its frames are not those of the windows before."""
        window = ModelInput(
            np.zeros(16_000, np.float32), 100, NORMALISATION, CacheKey()
        )

        with pytest.raises(ValueError, match="multiple of 320 samples, not at 100"):
            demo_model.label_frames([window])


class Mischief:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


class TestDecoding:
    """What a window asks for beside the best label of each frame."""

    @pytest.fixture
    def clip(self) -> Samples:
        """A person saying a digit."""
        return composer.load(speakers=("jackson",), indexes=(0,))[0].samples

    def test_the_best_labels_come_with_their_log_probabilities(
        self, demo_model: ASRModel, clip: Samples
    ) -> None:
        """Best first; the first is the label that every window gets."""
        window = ModelInput(clip, decoding=Decoding(n_best=4))

        (frames,) = demo_model.label_frames([window])
        (plain,) = demo_model.label_frames([ModelInput(clip)])

        found = frames.alternatives
        assert found is not None
        assert plain.alternatives is None
        assert found.ids.shape == found.log_probs.shape == (len(frames.ids), 4)
        assert np.array_equal(found.ids[:, 0], frames.ids)
        assert np.array_equal(plain.ids, frames.ids)
        assert np.allclose(np.exp(found.log_probs[:, 0]), frames.probs, atol=1e-5)
        assert (np.diff(found.log_probs, axis=1) <= 0).all()

    def test_all_labels_add_up_to_one(
        self, demo_model: ASRModel, clip: Samples
    ) -> None:
        """More than there are is as many as there are."""
        n_labels = len(demo_model.vocabulary.texts)
        window = ModelInput(clip, decoding=Decoding(n_best=10 * n_labels))

        (frames,) = demo_model.label_frames([window])

        assert frames.alternatives is not None
        assert frames.alternatives.ids.shape[1] == n_labels
        total = np.exp(frames.alternatives.log_probs).sum(axis=1)
        assert np.allclose(total, 1, atol=1e-4)

    def test_labels_come_in_the_order_in_which_they_are_asked_for(
        self, demo_model: ASRModel, clip: Samples
    ) -> None:
        """However unlikely they are."""
        asked = (7, 0, 3)
        window = ModelInput(clip, decoding=Decoding(labels=asked))

        (frames,) = demo_model.label_frames([window])

        assert frames.alternatives is not None
        assert (frames.alternatives.ids == asked).all()
        blank = np.exp(frames.alternatives.log_probs[:, 1])
        assert np.allclose(blank, frames.blank_probs, atol=1e-5)

    def test_windows_of_a_batch_get_what_each_asks_for(
        self, demo_model: ASRModel, clip: Samples
    ) -> None:
        """As they would alone."""
        decodings = [Decoding(), Decoding(2), Decoding(labels=(5,)), Decoding(3)]
        decodings += [Decoding(labels=(9, 5))]
        windows = [
            ModelInput(clip[: len(clip) - 3000 * k], decoding=own)
            for k, own in enumerate(decodings)
        ]

        together = demo_model.label_frames(windows)

        for window, frames in zip(windows, together, strict=True):
            (alone,) = demo_model.label_frames([window])
            assert np.array_equal(alone.ids, frames.ids)
            if alone.alternatives is None:
                assert frames.alternatives is None
                continue
            assert frames.alternatives is not None
            assert np.array_equal(alone.alternatives.ids, frames.alternatives.ids)
            assert np.allclose(
                alone.alternatives.log_probs, frames.alternatives.log_probs, atol=1e-3
            )
