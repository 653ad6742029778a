"""Reading a network's tensors from the files that training leaves."""

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from network.architecture import Architecture
from weights import checkpoint
from weights.checkpoint import BadCheckpoint

SMALL = Architecture(
    channels=(8,) * 7,
    model_dim=16,
    n_layers=2,
    n_heads=2,
    ffn_dim=32,
    position_kernel=4,
    n_position_groups=2,
    n_labels=5,
)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in SMALL.shapes().items()}


def saved(content: Any, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], wanted[name]) for name in wanted
    )


class TestLayouts:
    @pytest.mark.parametrize("wrap", [dict, lambda s: {"model": s, "step": 7}])
    def test_named_tensors_alone_or_under_model(
        self, state: dict[str, torch.Tensor], tmp_path: Path, wrap: Any
    ) -> None:
        """As released, and as training writes them."""
        path = saved(wrap(state), tmp_path / "weights.pt")

        assert same(checkpoint.read(path, SMALL), state)

    def test_a_file_from_before_archives(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """It cannot be mapped, and is read."""
        path = saved(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)

        assert same(checkpoint.read(path, SMALL), state)

    def test_names_of_a_module_that_was_wrapped(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """`module.`, as data-parallel training has it."""
        wrapped = {f"module.{name}": tensor for name, tensor in state.items()}

        assert same(checkpoint.read(saved(wrapped, tmp_path / "w.pt"), SMALL), state)

    def test_the_folder_that_fairseq2_writes(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """From one device; of more, the parts would have to be joined."""
        shard = saved(state, tmp_path / "model" / "pp_00" / "tp_00" / "sdp_00.pt")

        assert same(checkpoint.read(tmp_path / "model", SMALL), state)
        saved(state, shard.with_name("sdp_01.pt"))
        with pytest.raises(BadCheckpoint, match="2 such files"):
            checkpoint.read(tmp_path / "model", SMALL)

    def test_names_of_fairseq(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """Renamed as fairseq2 renames them."""
        pytest.importorskip("fairseq2")
        from fairseq2.models.wav2vec2.asr.interop import convert_wav2vec2_asr_state_dict

        from tests.support import upstream

        older: dict[str, Any] = {fairseq_name(n): t for n, t in state.items()}
        assert not older.keys() & state.keys()
        path = saved({"model": older}, tmp_path / "fairseq.pt")

        ours = checkpoint.read(path, SMALL)

        theirs = convert_wav2vec2_asr_state_dict(older, upstream.config_of("300m"))
        assert same(ours, state)
        assert theirs.keys() == ours.keys()

    def test_what_only_training_needs_is_left_out(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """The vector that stands for a hidden frame."""
        more = {**state, "masker.temporal_mask_embed": torch.zeros(16)}

        assert same(checkpoint.read(saved(more, tmp_path / "w.pt"), SMALL), state)


class TestOthersNetworks:
    def test_a_missing_tensor_is_named(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """The card has more layers than the file."""
        fewer = {n: t for n, t in state.items() if "layers.1.ffn." not in n}

        with pytest.raises(BadCheckpoint, match=r"no tensor encoder\.layers\.1\."):
            checkpoint.read(saved(fewer, tmp_path / "w.pt"), SMALL)

    def test_a_tensor_too_many_is_named(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """The file has more layers than the card."""
        more = {**state, "encoder.layers.2.ffn_layer_norm.bias": torch.zeros(16)}

        with pytest.raises(BadCheckpoint, match=r"network has no .*layers\.2\."):
            checkpoint.read(saved(more, tmp_path / "w.pt"), SMALL)

    def test_a_tensor_of_another_shape_is_named(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        """With both shapes."""
        state["final_proj.bias"] = torch.zeros(6)

        with pytest.raises(BadCheckpoint, match=r"bias is \(6,\) .* says \(5,\)"):
            checkpoint.read(saved(state, tmp_path / "w.pt"), SMALL)

    @pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {}])
    def test_a_file_of_something_else_is_refused(
        self, tmp_path: Path, content: Any
    ) -> None:
        """It unpickles, and that is all."""
        with pytest.raises(BadCheckpoint):
            checkpoint.read(saved(content, tmp_path / "w.pt"), SMALL)

    @pytest.mark.parametrize("n", range(40))
    def test_bytes_that_are_no_pickle_are_refused(self, tmp_path: Path, n: int) -> None:
        """Whatever the instructions do that they are taken for."""
        path = tmp_path / "w.pt"
        path.write_bytes(Random(n).randbytes(300) if n else b"root:x:0:0:root:/root\n")

        with pytest.raises(BadCheckpoint, match="damaged, or not a checkpoint") as bad:
            checkpoint.read(path, SMALL)
        assert "weights_only" not in str(bad.value)


def fairseq_name(name: str) -> str:
    """Name a tensor as fairseq's own wav2vec 2.0 does."""
    model = "w2v_encoder.w2v_model"
    for pattern, theirs in (
        (r"^encoder_frontend\.feature_extractor\.layers\.(\d+)\.conv\.",
         rf"{model}.feature_extractor.conv_layers.\1.0."),
        (r"^encoder_frontend\.feature_extractor\.layers\.(\d+)\.layer_norm\.",
         rf"{model}.feature_extractor.conv_layers.\1.2.1."),
        (r"^encoder_frontend\.pos_encoder\.conv\.", f"{model}.encoder.pos_conv.0."),
        (r"^encoder_frontend\.post_extract_layer_norm\.", f"{model}.layer_norm."),
        (r"^encoder_frontend\.model_dim_proj\.", f"{model}.post_extract_proj."),
        (r"^final_proj\.", "w2v_encoder.proj."),
        (r"\.ffn\.inner_proj\.", ".fc1."),
        (r"\.ffn\.output_proj\.", ".fc2."),
        (r"\.ffn_layer_norm\.", ".final_layer_norm."),
        (r"\.self_attn\.output_proj\.", ".self_attn.out_proj."),
        (r"^encoder\.", f"{model}.encoder."),
    ):  # fmt: skip
        name = re.sub(pattern, theirs, name)
    return name
