"""Models as transformers saves them: the same text, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from audio.samples import Samples
from benchmarks.corpus import composer
from engine.interface import ModelInput, Normalisation
from model import ASRModel
from network.transformers_config import OMNIASR, WAV2VEC2
from tests.support import transformers_files as files
from weights import cards, sources
from weights.cards import ModelUnavailable
from weights.places import Repository, place_of, public_name

KINDS = (OMNIASR, WAV2VEC2)


def load(name: str | Path) -> ASRModel:
    return ASRModel.load(str(name), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def clip() -> Samples:
    """Spoken digits."""
    return composer.random_composition(composer.load(), 8, rng=Random(3)).samples


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: files.write_demo(root / kind, kind) for kind in KINDS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of one's own to break."""
    return files.write_demo(tmp_path / "mine", WAV2VEC2)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    files.write_json(path, content)


class TestTheSameModel:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            (OMNIASR, {}),
            (OMNIASR, {"n_shards": 3}),
            (WAV2VEC2, {}),
            (WAV2VEC2, {"n_shards": 2, "pad": 57}),
        ],
        ids=["omniASR", "in shards", "wav2vec 2.0", "with the blank at the end"],
    )
    def test_a_converted_model_labels_frames_as_before(
        self,
        demo_model: ASRModel,
        clip: Samples,
        tmp_path: Path,
        kind: str,
        options: dict[str, int],
    ) -> None:
        """Frame by frame, under labels of its own, if both hear the same samples."""
        ours = load(files.write_demo(tmp_path / "mine", kind, **options))
        same = Normalisation(float(clip.mean()), float(clip.std()))
        window = ModelInput(clip, normalisation=same)

        (found,) = ours.label_frames([window])
        (wanted,) = demo_model.label_frames([window])

        assert len(set(wanted.ids.tolist())) > 6
        texts, theirs = ours.vocabulary.texts, demo_model.vocabulary.texts
        assert [texts[n] for n in found.ids] == [theirs[n] for n in wanted.ids]
        assert np.allclose(found.probs, wanted.probs, atol=1e-3)
        assert np.allclose(found.blank_probs, wanted.blank_probs, atol=1e-3)
        assert ours.self_check is not None
        assert ours.self_check.passed

    def test_weights_that_torch_saved_are_read_too(
        self, clip: Samples, folder: Path, folders: dict[str, Path]
    ) -> None:
        """As older versions of transformers wrote them."""
        from safetensors.torch import load_file

        weights = folder / "model.safetensors"
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()

        (found,) = load(folder).label_frames([ModelInput(clip)])

        (wanted,) = load(folders[WAV2VEC2]).label_frames([ModelInput(clip)])
        assert np.array_equal(found.ids, wanted.ids)

    def test_a_clip_is_normalised_as_its_kind_does(
        self, folders: dict[str, Path]
    ) -> None:
        """transformers adds less to the variance for Wav2Vec2ForCTC."""
        epsilons = {
            kind: sources.find(
                str(folder), model_dir=None, progress=print
            ).architecture.epsilon
            for kind, folder in folders.items()
        }

        assert epsilons == {OMNIASR: 1e-5, WAV2VEC2: 1e-7}

    def test_a_sentencepiece_file_is_a_tokenizer_too(
        self, folder: Path, folders: dict[str, Path], demo_model: ASRModel
    ) -> None:
        """Instead of the files of transformers."""
        mine = files.write_demo(folder.parent / "other", OMNIASR)
        (mine / "tokenizer.json").unlink()
        demo = cards.ASSETS / "demo" / "omniASR_CTC_demo_tokenizer.model"
        (mine / "tokenizer.model").write_bytes(demo.read_bytes())

        found = sources.find(str(mine), model_dir=None, progress=print)

        assert found.vocabulary == demo_model.vocabulary

    def test_a_folder_with_a_card_is_its_model(
        self, clip: Samples, demo_model: ASRModel, tmp_path: Path
    ) -> None:
        """A checkpoint of fairseq2, without MODEL_DIR."""
        mine = shutil.copytree(cards.ASSETS / "demo", tmp_path / "mine")
        card = mine / "omniASR_CTC_demo.yaml"
        names = re.sub(r"(omniASR_\w+_demo)$", r"my_\1", card.read_text(), flags=re.M)
        card.write_text(names)

        (found,) = load(mine).label_frames([ModelInput(clip)])

        (wanted,) = demo_model.label_frames([ModelInput(clip)])
        assert np.array_equal(found.ids, wanted.ids)


class TestOtherNetworks:
    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"feat_extract_norm": "group"}, "feat_extract_norm is group; .* is layer"),
            ({"do_stable_layer_norm": False}, "do_stable_layer_norm is False"),
            ({"conv_bias": False}, "conv_bias is False"),
            ({"hidden_act": "relu"}, "hidden_act is relu"),
            ({"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06"),
            ({"add_adapter": True}, "add_adapter is True"),
            ({"adapter_attn_dim": 16}, "adapter_attn_dim is 16"),
            ({"conv_kernel": [10, 3, 3, 3, 3, 3, 2]}, "conv_kernel is .* 400 samples"),
            ({"num_attention_heads": 5}, "num_encoder_attn_heads is 5"),
            ({"hidden_size": 64}, "hidden_size is 64, as the last of conv_dim"),
            ({"vocab_size": "all"}, "vocab_size is all; it is a size"),
            ({"quantization_config": {"bits": 4}}, "its weights are quantised"),
            (
                {"architectures": ["Wav2Vec2ForPreTraining"]},
                "Wav2Vec2ForPreTraining .* without a CTC head",
            ),
            (
                {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
                "It is LlamaForCausalLM .*no CTC model for speech.* runs OmniASRForCTC",
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_what_is_not_computed_is_refused_by_name(
        self, folder: Path, change: dict[str, Any], complaint: str
    ) -> None:
        """With what would run."""
        changed(folder / "config.json", lambda config: config.update(change))

        with pytest.raises(ModelUnavailable, match=complaint):
            sources.find(str(folder), model_dir=None, progress=print)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"sampling_rate": 8000}, "sampling_rate 8000"),
            ({"do_normalize": False}, "do_normalize False"),
        ],
    )
    def test_other_audio_is_refused(
        self, folder: Path, change: dict[str, Any], complaint: str
    ) -> None:
        """Which the model was trained with."""
        changed(folder / "preprocessor_config.json", lambda own: own.update(change))

        with pytest.raises(ModelUnavailable, match=complaint):
            sources.find(str(folder), model_dir=None, progress=print)


class TestBrokenFolders:
    def test_a_shard_that_is_cut_off_is_named(self, tmp_path: Path) -> None:
        """With what to do."""
        folder = files.write_demo(tmp_path / "mine", OMNIASR, n_shards=2)
        shard = folder / "model-00002-of-00002.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1000])

        with pytest.raises(ModelUnavailable, match=r"00002-of-00002.*cut off.*again"):
            load(folder)

    def test_a_shard_that_is_missing_is_named(self, tmp_path: Path) -> None:
        """As the index lists it."""
        folder = files.write_demo(tmp_path / "mine", OMNIASR, n_shards=2)
        (folder / "model-00001-of-00002.safetensors").unlink()

        with pytest.raises(ModelUnavailable, match=r"missing: model-00001-of"):
            load(folder)

    def test_a_folder_without_weights_or_configuration_says_what_it_needs(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """An adapter is half a model."""
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelUnavailable, match=r"has no model\.safetensors"):
            load(folder)
        (folder / "config.json").unlink()
        with pytest.raises(ModelUnavailable, match=r"no config\.json.*save_pretrained"):
            load(folder)
        files.write_json(folder / "adapter_config.json", {})
        with pytest.raises(ModelUnavailable, match=r"only an adapter\. Merge it"):
            load(folder)

    @pytest.mark.parametrize("n", [57, 59])
    def test_a_tokenizer_of_another_size_is_refused(self, folder: Path, n: int) -> None:
        """A label without a text, and a text without a label."""
        changed(
            folder / "vocab.json",
            lambda texts: texts.update(more=58) if n > 58 else texts.popitem(),
        )

        with pytest.raises(ModelUnavailable, match=f"has {n} labels, but .* has 58"):
            load(folder)

    def test_other_forms_of_tokenizers_are_refused(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """Adapters' vocabularies, joined bytes, none."""
        files.write_json(folder / "vocab.json", {"eng": {"a": 0}, "deu": {"a": 0}})
        with pytest.raises(ModelUnavailable, match="of several languages"):
            load(folder)
        (folder / "vocab.json").unlink()
        with pytest.raises(ModelUnavailable, match="has no tokenizer"):
            load(folder)
        joining = {"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}}
        files.write_json(folder / "tokenizer.json", joining)
        with pytest.raises(ModelUnavailable, match="kind ByteLevel"):
            load(folder)

    def test_a_tensor_too_many_is_named(self, folder: Path) -> None:
        """The configuration has fewer layers than the file."""
        changed(folder / "config.json", lambda own: own.update(num_hidden_layers=4))

        with pytest.raises(ModelUnavailable, match=r"no tensor encoder\.layers\.4\."):
            load(folder)

    def test_numbers_without_a_point_are_refused(self, folder: Path) -> None:
        """Somebody has quantised them."""
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "model.safetensors")
        state["lm_head.weight"] = state["lm_head.weight"].to(torch.int8)
        save_file(state, folder / "model.safetensors")

        with pytest.raises(ModelUnavailable, match="weights are quantised"):
            load(folder)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("hf:hf-audio/omniasr-ctc-300m-v2", ("hf-audio/omniasr-ctc-300m-v2", None)),
            ("me/mine@v1.0", ("me/mine", "v1.0")),
            ("me/mine@refs/pr/3", ("me/mine", "refs/pr/3")),
        ],
    )
    def test_owner_and_name_are_a_repository(
        self, name: str, place: tuple[str, str | None]
    ) -> None:
        """With a revision or without."""
        assert place_of(name, model_dir=None) == Repository(*place)
        assert public_name(name, model_dir=None) == place[0]

    def test_a_folder_wins_over_a_repository(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And a card over both; hf: always means the repository."""
        (tmp_path / "me" / "mine").mkdir(parents=True)
        (tmp_path / files.DEMO).mkdir()
        monkeypatch.chdir(tmp_path)

        assert place_of("me/mine", model_dir=None) == Path("me/mine")
        assert place_of("hf:me/mine", model_dir=None) == Repository("me/mine")
        assert place_of(files.DEMO, model_dir=None) == files.DEMO
        assert public_name("me/mine", model_dir=None) == "mine"

    @pytest.mark.parametrize("name", ["hf:mine", "/no/such/folder", "~/nothing/here"])
    def test_other_names_are_refused(self, name: str) -> None:
        """At once."""
        with pytest.raises(ModelUnavailable, match=r"no repository|no folder"):
            place_of(name, model_dir=None)
