"""Batches on an accelerator: right, few operators, and one copy each way.

There is no accelerator here. The path is computed on the CPU, and once more under fake
tensors of `cuda` and `mps`, which know shapes, data types and devices, and refuse an
operator that mixes devices.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from audio.frames import MAX_WINDOW_SAMPLES, n_frames
from audio.samples import SAMPLE_RATE
from engine.interface import CacheKey, ModelInput, Normalisation
from model import ASRModel
from network import batches
from network.architecture import ARCHITECTURES, CONVOLUTIONS, Architecture
from network.batches import PaddedPass
from network.feature_cache import FeatureCache
from network.kernels import Arithmetic, arithmetic_for
from network.readout import Table, read_out
from network.tensors import Weights, blocks_for
from network.wav2vec2 import Wav2Vec2
from text.ctc import Vocabulary
from weights.loading import LoadedModel

CPU = torch.device("cpu")
TOLERANCE = 1e-4
N_WINDOWS = 16
MOST_OPERATORS = 450

# As many layers as 300M has, since operators are counted, and narrow ones.
NARROW = Architecture(
    channels=(32,) * len(CONVOLUTIONS),
    model_dim=64,
    n_heads=4,
    ffn_dim=128,
    n_labels=300,
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "half": torch.float16}


def state_of(architecture: Architecture, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: scale * torch.randn(shape, generator=generator)
        for name, shape in architecture.shapes().items()
    }


@pytest.fixture(scope="module")
def networks() -> tuple[Wav2Vec2, Wav2Vec2]:
    """The same weights for the CPU's way, and for an accelerator's, on the CPU."""
    state = state_of(NARROW, 0.1)
    plain = Arithmetic(torch.float32, torch.float32)
    elsewhere = blocks_for(torch.device("cuda"))
    return (
        Wav2Vec2(Weights(state, CPU, plain), NARROW),
        Wav2Vec2(Weights(state, CPU, plain, elsewhere), NARROW),
    )


def noise(n_samples: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


def ragged(n_windows: int) -> list[ModelInput]:
    return [ModelInput(noise(16_000 + 977 * k, k)) for k in range(n_windows)]


def live(n_windows: int) -> list[ModelInput]:
    """Windows of utterances."""
    usual = Normalisation(0.0, 1.0)
    return [
        replace(window, normalisation=usual, cache_key=CacheKey())
        for window in ragged(n_windows)
    ]


def later(windows: Sequence[ModelInput]) -> list[ModelInput]:
    """The next windows of the same utterances: a second on, and longer."""
    return [
        replace(
            window,
            samples=np.concatenate(
                [window.samples[9600:], noise(8000 + 640 * k, 50 + k)]
            ),
            position=window.position + 9600,
        )
        for k, window in enumerate(windows)
    ]


@torch.inference_mode()
def alone(network: Wav2Vec2, window: ModelInput) -> Tensor:
    wave = torch.from_numpy(batches.normalised(window, epsilon=1e-5))
    features = network.features([wave])
    return torch.cat(list(network.encode(features, [len(features)])))


@torch.inference_mode()
def together(padded: PaddedPass, windows: Sequence[ModelInput]) -> list[Tensor]:
    blocks, _ = padded.logits(windows)
    lengths = [n_frames(len(window)) for window in windows]
    return list(torch.split(torch.cat(list(blocks)), lengths))


class Operators(TorchDispatchMode):
    """Counts operators that compute or copy, and copies between devices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted: Counter[str] = Counter()
        self.crossed: list[tuple[str, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.counted[func.__name__] += 1
        devices = {t.device.type for t in args if isinstance(t, Tensor) and t.dim()}
        if isinstance(found, Tensor) and devices and found.device.type not in devices:
            self.crossed.append((*devices, found.device.type))
        if func.__name__ in ("_local_scalar_dense.default", "item.default"):
            self.crossed.append(("scalar", func.__name__))
        return found


class WithoutDriver(TorchFunctionMode):
    """Writes out the few operators that ask the device's driver, which is not there.

    They are views, copies, and attention, whose kernel is chosen by the device.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            func = torch.ops.aten._scaled_dot_product_attention_math
            return func(*args, **(kwargs or {}))[0]
        if func is Tensor.__getitem__:
            return indexed(*args)
        if func is Tensor.contiguous:
            return args[0].clone(memory_format=torch.contiguous_format)
        return func(*args, **(kwargs or {}))


def indexed(tensor: Tensor, index: Any) -> Tensor:
    """Take slices of a tensor, and add dimensions."""
    dim = 0
    for one in index if isinstance(index, tuple) else (index,):
        if one is Ellipsis:
            dim = tensor.dim() - (len(index) - index.index(Ellipsis) - 1)
        elif one is None:
            tensor, dim = tensor.unsqueeze(dim), dim + 1
        elif isinstance(one, slice):
            cut = (one.start, one.stop, one.step or 1)
            tensor = torch.ops.aten.slice(tensor, dim, *cut)
            dim += 1
        else:
            tensor = tensor.select(dim, one)
    return tensor


class TestWindows:
    @settings(max_examples=20, deadline=None)
    @given(
        st.lists(st.integers(400, 30_000), min_size=1, max_size=6),
        st.integers(0, 100),
    )
    def test_each_gets_what_it_gets_alone(
        self,
        networks: tuple[Wav2Vec2, Wav2Vec2],
        lengths: list[int],
        seed: int,
    ) -> None:
        """Whatever the lengths."""
        plain, elsewhere = networks
        windows = [ModelInput(noise(n, seed + k)) for k, n in enumerate(lengths)]

        found = together(PaddedPass(elsewhere, FeatureCache(), CPU), windows)

        for window, ours in zip(windows, found, strict=True):
            wanted = alone(plain, window)
            assert wanted.abs().max() > 0.1
            assert (ours - wanted).abs().max() <= TOLERANCE

    def test_one_with_no_number_in_it_harms_no_other(
        self, networks: tuple[Wav2Vec2, Wav2Vec2]
    ) -> None:
        """NaN does not leak into a neighbour."""
        plain, elsewhere = networks
        broken = ModelInput(np.full(25_000, np.nan, np.float32))
        fine = ModelInput(noise(20_000, 1))

        _, ours, _ = together(
            PaddedPass(elsewhere, FeatureCache(), CPU), [broken, fine, broken]
        )

        assert (ours - alone(plain, fine)).abs().max() <= TOLERANCE

    def test_known_features_are_used(
        self, networks: tuple[Wav2Vec2, Wav2Vec2], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a mixed batch too; one that is known whole needs no convolution."""
        plain, elsewhere = networks
        padded = PaddedPass(elsewhere, FeatureCache(), CPU)
        first = live(3)
        together(padded, first)
        second = [*later(first), ModelInput(noise(18_000, 9))]

        found = together(padded, second)
        monkeypatch.setattr(elsewhere, "features", None)
        again = together(padded, second[:3])

        for window, ours in zip(second, found, strict=True):
            assert (ours - alone(plain, window)).abs().max() <= TOLERANCE
        for ours, same in zip(found[:3], again, strict=True):
            assert (ours - same).abs().max() <= TOLERANCE

    def test_what_is_kept_of_one_is_no_part_of_the_batch(
        self, networks: tuple[Wav2Vec2, Wav2Vec2]
    ) -> None:
        """Else one utterance would hold the memory of sixteen."""
        cache = FeatureCache()
        windows = live(N_WINDOWS)

        together(PaddedPass(networks[1], cache, CPU), windows)

        for window in windows:
            features = cache.find(window)
            assert features is not None
            held = features.untyped_storage().nbytes()
            assert held == n_frames(len(window)) * NARROW.n_features * 4


class TestOperators:
    @torch.inference_mode()
    def count(self, padded: PaddedPass, windows: Sequence[ModelInput]) -> int:
        with Operators() as operators:
            blocks, labels = padded.logits(windows)
            for block in blocks:
                read_out(block, n_best=0, labels=labels)
        return sum(operators.counted.values())

    def test_there_are_as_many_for_sixteen_windows_as_for_one(
        self, networks: tuple[Wav2Vec2, Wav2Vec2]
    ) -> None:
        """But for some that mask what is padding."""
        padded = PaddedPass(networks[1], FeatureCache(), CPU)

        one, many = self.count(padded, ragged(1)), self.count(padded, ragged(N_WINDOWS))

        assert many <= MOST_OPERATORS
        assert many <= one + 10

    def test_known_features_cost_none_for_each_window(
        self, networks: tuple[Wav2Vec2, Wav2Vec2]
    ) -> None:
        """They are put together in one go."""
        padded = PaddedPass(networks[1], FeatureCache(), CPU)
        windows = live(N_WINDOWS)
        first = self.count(padded, windows)

        second = self.count(padded, later(windows))

        assert second <= min(first + 5, MOST_OPERATORS)


def fake_model(name: str, device: str, dtype: torch.dtype) -> ASRModel:
    """A model of a released size, with two layers, on a device that is not there."""
    architecture = replace(ARCHITECTURES[name], n_layers=2)
    place = torch.device(device)
    arithmetic = arithmetic_for(place, dtype)
    state = {key: torch.empty(size) for key, size in architecture.shapes().items()}
    loaded = LoadedModel(
        Wav2Vec2(Weights(state, place, arithmetic), architecture),
        lambda wave: wave,
        Vocabulary(tuple("" for _ in range(architecture.n_labels))),
    )
    return ASRModel(loaded, name=name, device=place, dtype=dtype)


@contextmanager
def unless_not_built() -> Iterator[None]:
    """Skip what newer PyTorch refuses to fake: devices that it was not built for."""
    try:
        yield
    except RuntimeError as error:
        if os.environ.get("LIGHT") and "is not linked with" in str(error):
            pytest.skip(str(error))
        raise


class TestFakeDevices:
    @pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
    @pytest.mark.parametrize("device", ["cuda:0", "mps:0"])
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_every_released_size_computes_on_one_device(
        self, name: str, device: str, dtype: torch.dtype
    ) -> None:
        """And meets the host once each way, whatever is known and asked for."""
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with unless_not_built(), fake, WithoutDriver():
            model = fake_model(name, device, dtype)
            windows = live(3)
            for asked in (windows, later(windows), ragged(1)):
                with Operators() as operators:
                    read = model.read_out(asked, n_best=4, labels=[7, 9]).cpu()

                frames = sum(n_frames(len(window)) for window in asked)
                assert read.shape == (frames, 3 + 2 * 4 + 2)
                kind = device.partition(":")[0]
                assert operators.crossed == [("cpu", kind), (kind, "cpu")]

    @pytest.mark.parametrize("device", ["cuda:0", "mps:0"])
    def test_there_is_no_8_bit_arithmetic(self, device: str) -> None:
        """Which is refused before anything is loaded."""
        with pytest.raises(RuntimeError, match="8-bit"):
            arithmetic_for(torch.device(device), torch.int8)

    def test_an_operator_that_mixes_devices_is_noticed(self) -> None:
        """By fake tensors, as by real ones."""
        with FakeTensorMode():
            there = torch.empty(3, device="cuda:0")
            with pytest.raises(RuntimeError, match="device"):
                there + torch.empty(3)


class TestReadOut:
    def test_a_table_comes_apart_as_it_was_made(self) -> None:
        """Bit by bit, small probabilities included."""
        logits = 20 * torch.randn(7, 50, generator=torch.Generator().manual_seed(1))
        labels = torch.tensor([3, 41])

        table = Table.of(read_out(logits, n_best=4, labels=labels).numpy(), n_best=4)

        log_probs = logits.log_softmax(dim=-1)
        best, ids = log_probs.topk(4)
        assert table.ids.tolist() == ids[:, 0].tolist()
        assert table.best_ids.tolist() == ids.tolist()
        for found, wanted in (
            (table.probs, best[:, 0].exp()),
            (table.blank_probs, log_probs[:, 0].exp()),
            (table.best_log_probs, best),
            (table.log_probs, log_probs[:, labels]),
        ):
            assert np.allclose(found, wanted.numpy(), atol=1e-5)


class TestMemory:
    def test_more_memory_has_room_for_more(self) -> None:
        """In proportion; the longest window is always tried."""
        sizes = ARCHITECTURES["300m_v2"]

        few, some, many = (
            batches.most_samples(sizes, torch.bfloat16, gib << 30)
            for gib in (1, 16, 64)
        )

        assert few == MAX_WINDOW_SAMPLES
        assert some > 8 * MAX_WINDOW_SAMPLES
        assert 3 * some < many < 6 * some

    def test_larger_models_have_room_for_less(self) -> None:
        """And so have longer numbers."""
        room = {
            (name, dtype): batches.most_samples(ARCHITECTURES[name], dtype, 16 << 30)
            for name in ("300m_v2", "7b_v2")
            for dtype in (torch.bfloat16, torch.float32)
        }

        assert room["7b_v2", torch.bfloat16] < room["300m_v2", torch.bfloat16]
        assert room["7b_v2", torch.float32] < room["7b_v2", torch.bfloat16]
        assert room["300m_v2", torch.bfloat16] > 60 * SAMPLE_RATE
