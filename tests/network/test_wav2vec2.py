"""Our network computes what fairseq2's module computes, for every released size."""

from typing import Any

import pytest
import torch
from torch import Tensor

from audio.frames import MAX_WINDOW_SAMPLES, n_frames
from network.architecture import ARCHITECTURES, Architecture, from_card
from network.extractor import Extractor
from network.kernels import Arithmetic, arithmetic_for, attend_in_blocks
from network.tensors import Blocks, Weights, blocks_for
from network.wav2vec2 import Wav2Vec2, reference_logits
from tests.support import upstream

CPU = torch.device("cpu")
TOLERANCE = 1e-4

# Windows of one frame, of several blocks of convolutions, of several of rows.
LENGTHS = (400, 12_345, 25_000, 200_000)


def network_of(
    state: dict[str, Tensor], architecture: Architecture, blocks: Blocks | None = None
) -> Wav2Vec2:
    arithmetic = arithmetic_for(CPU, torch.float32)
    return Wav2Vec2(Weights(state, CPU, arithmetic, blocks), architecture)


@torch.inference_mode()
def logits_of(network: Wav2Vec2, waves: list[Tensor]) -> list[Tensor]:
    lengths = [n_frames(len(wave)) for wave in waves]
    blocks = network.encode(network.features(waves), lengths)
    return list(torch.split(torch.cat(list(blocks)), lengths))


def waves_of(lengths: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, generator=generator) for length in lengths]


# Both versions, which differ in their labels only, are among them.
@pytest.mark.parametrize("arch", ["300m", "1b_v2", "3b", "7b_v2"])
def test_logits_are_those_of_fairseq2(arch: str) -> None:
    """In float32 to 1e-4, with two layers of each size; and so is the reference."""
    module = upstream.module_of(upstream.config_of(arch, n_layers=2))
    architecture = from_card(arch, {"encoder_config": {"num_encoder_layers": 2}})
    network = network_of(module.state_dict(), architecture)
    waves = waves_of((400, 12_345))

    together = logits_of(network, waves)

    for wave, ours in zip(waves, together, strict=True):
        theirs = upstream.logits_of(module, wave)
        with torch.inference_mode():
            plain = reference_logits(module.state_dict(), architecture, wave)
        assert theirs.abs().max() > 0.5
        assert (ours - theirs).abs().max() <= TOLERANCE
        assert (plain - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_a_checkpoint_has_the_tensors_of_fairseq2s_module(arch: str) -> None:
    """All layers of them, by name and shape."""
    with torch.device("meta"):
        module = upstream.module_of(upstream.config_of(arch))

    theirs = {name: tuple(t.shape) for name, t in module.state_dict().items()}

    assert ARCHITECTURES[arch].shapes() == theirs


NARROW = from_card(
    "300m",
    {
        "encoder_config": {
            "num_encoder_layers": 2,
            "model_dim": 128,
            "ffn_inner_dim": 256,
        }
    },
)


@pytest.fixture(scope="module")
def small() -> tuple[Any, Wav2Vec2]:
    """Two narrow layers, which cost nothing."""
    config = upstream.config_of("300m", n_layers=2)
    encoder = config.encoder_config
    encoder.model_dim, encoder.ffn_inner_dim = 128, 256
    module = upstream.module_of(config)
    return module, network_of(module.state_dict(), NARROW)


class TestBatches:
    @pytest.mark.parametrize(
        "lengths",
        [LENGTHS, LENGTHS[::-1], (25_000,) * 3, (200_000,), (400,), (400, 401)],
        ids=["ragged", "falling", "equal", "long", "short", "one frame each"],
    )
    def test_windows_do_not_see_each_other(
        self, small: tuple[Any, Wav2Vec2], lengths: tuple[int, ...]
    ) -> None:
        """Whatever the others' lengths, each gets what it would get alone."""
        module, network = small
        waves = waves_of(lengths)

        together = logits_of(network, waves)

        for wave, ours in zip(waves, together, strict=True):
            assert (ours - upstream.logits_of(module, wave)).abs().max() <= TOLERANCE

    def test_silence_beside_a_window_with_no_number_in_it_stays_silence(
        self, small: tuple[Any, Wav2Vec2]
    ) -> None:
        """NaN does not leak into a neighbour."""
        _, network = small
        broken, fine = torch.full((25_000,), float("nan")), torch.zeros(24_000)

        _, ours, _ = logits_of(network, [broken, fine, broken])

        (alone,) = logits_of(network, [fine])
        assert (ours - alone).abs().max() <= TOLERANCE

    def test_features_of_a_frame_depend_on_its_400_samples(
        self, small: tuple[Any, Wav2Vec2]
    ) -> None:
        """Hence they can be kept."""
        _, network = small
        (wave,) = waves_of((100_000,))

        with torch.inference_mode():
            whole = network.features([wave])
            part = network.features([wave[3200:53_200]])

        assert (whole[10 : 10 + len(part)] - part).abs().max() <= TOLERANCE


class TestBlocks:
    @pytest.mark.parametrize("blocks", [Blocks(7, 11), blocks_for(torch.device("mps"))])
    def test_how_much_is_worked_on_at_once_changes_nothing(
        self,
        small: tuple[Any, Wav2Vec2],
        blocks: Blocks,
    ) -> None:
        """Neither small blocks nor those of an accelerator, which we have none of."""
        module, network = small
        other = network_of(module.state_dict(), NARROW, blocks)
        waves = waves_of(LENGTHS)

        ours, theirs = logits_of(network, waves), logits_of(other, waves)

        for one, same in zip(ours, theirs, strict=True):
            assert (one - same).abs().max() <= TOLERANCE

    def test_an_accelerator_takes_the_longest_window_at_once(self) -> None:
        """Every block would be as many kernels to launch again."""
        blocks = blocks_for(torch.device("cuda"))

        assert min(blocks.frames, blocks.rows) >= n_frames(MAX_WINDOW_SAMPLES)


def test_features_do_not_depend_on_how_linear_layers_are_made() -> None:
    """The convolutions are products of their own."""
    module = upstream.module_of(upstream.config_of("300m", n_layers=1))
    weights = Weights(module.state_dict(), CPU)
    wave = waves_of((16_000,))

    with torch.inference_mode():
        ours = Extractor(weights)(wave)
        theirs = module.encoder_frontend.feature_extractor.layers(wave[0][None, None])

    assert (ours - theirs[0].T).abs().max() <= TOLERANCE


def test_products_of_convolutions_and_attention_have_numbers_of_their_own(
    small: tuple[Any, Wav2Vec2],
) -> None:
    """As beside 8-bit layers: what comes out is float32, off by bfloat16's rounding."""
    module, network = small
    coarse = Arithmetic(torch.float32, torch.bfloat16, attend=attend_in_blocks)
    other = Wav2Vec2(Weights(module.state_dict(), CPU, coarse), NARROW)
    waves = waves_of(LENGTHS[:-1])  # many processors have no bfloat16, and take long

    ours, exact = logits_of(other, waves), logits_of(network, waves)

    assert other.features(waves).dtype is torch.float32
    for one, wanted in zip(ours, exact, strict=True):
        assert one.dtype is torch.float32
        assert 1e-5 < (one - wanted).norm() / wanted.norm() < 0.03
