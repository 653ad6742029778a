"""Cards: what they inherit, where their files are, what is wrong with them."""

import hashlib
from pathlib import Path

import pytest
import yaml

from network.architecture import ARCHITECTURES
from weights import cards, fetching
from weights.cards import ASSETS, ModelUnavailable, find_card, known_models

RELEASED = [
    f"omniASR_CTC_{size}{version}"
    for size in ("300M", "1B", "3B", "7B")
    for version in ("", "_v2")
]


def write(folder: Path, text: str) -> Path:
    (folder / "cards.yaml").write_text(text)
    return folder


class TestCatalogue:
    def test_every_released_model_and_the_bundled_one_are_known(self) -> None:
        """By name, without omnilingual-asr."""
        assert set(known_models(None)) == {*RELEASED, "omniASR_CTC_demo"}

    @pytest.mark.parametrize("name", RELEASED)
    def test_a_released_card_describes_its_network_and_its_files(
        self, name: str
    ) -> None:
        """Four bytes a weight is what the download weighs."""
        card = find_card(name, model_dir=None)

        architecture = cards.architecture_of(card)
        assert card.text("checkpoint").startswith("https://")
        n_weights = sum(
            shape[0] * (shape[1] if len(shape) > 1 else 1) * (shape + (1,) * 2)[2]
            for shape in architecture.shapes().values()
        )
        assert card.fields["checkpoint_gib"] == pytest.approx(
            4 * n_weights / 2**30, rel=0.08
        )

    def test_the_catalogue_says_what_omnilingual_asrs_cards_say(self) -> None:
        """Names, families, architectures, addresses, tokenizers."""
        package = pytest.importorskip("omnilingual_asr.cards.models")
        ours = {card.name: dict(card.fields) for card in cards._cards_below(ASSETS)}
        theirs = {}
        for path in Path(next(iter(package.__path__))).glob("*.yaml"):
            for fields in yaml.safe_load_all(path.read_text()):
                theirs[fields.pop("name")] = fields

        for name, fields in theirs.items():
            if fields.get("model_family") == "wav2vec2_llama":
                fields = {"model_family": "wav2vec2_llama"}
            elif name not in ours:
                assert "_W2V_" in name or name == "omniASR_tokenizer_v1_variant7"
                continue
            ours[name].pop("checkpoint_gib", None)
            assert ours.pop(name) == fields
        assert set(ours) == {"omniASR_CTC_demo", "omniASR_tokenizer_demo"}

    def test_every_architecture_has_a_card(self) -> None:
        """And every card of ours an architecture."""
        named = {find_card(n, model_dir=None).fields["model_arch"] for n in RELEASED}

        assert named == set(ARCHITECTURES)


class TestFields:
    def test_a_card_inherits_what_it_does_not_say(self, tmp_path: Path) -> None:
        """From its base, and from the base of that."""
        folder = write(
            tmp_path,
            "name: mine\nbase: other\ncheckpoint: ./mine.pt\n---\n"
            "name: other\nbase: omniASR_CTC_1B_v2\nmodel_arch: 300m\n",
        )

        card = find_card("mine", model_dir=folder)

        assert card.fields["checkpoint"] == "./mine.pt"
        assert card.fields["model_arch"] == "300m"
        assert card.fields["tokenizer_ref"] == "omniASR_tokenizer_written_v2"
        assert card.folder == folder

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("name: mine\nbase: nobody\n", "the base nobody, which has no card"),
            ("name: mine\nbase: mine\n", "form a circle"),
            ("model_arch: 300m\n", "an entry without a name"),
            ("- 1\n- 2\n", "an entry without a name"),
            ("name: mine\n---\nname: mine\n", "mine exists in both"),
            ("name: mine\n", "The card mine is no model"),
        ],
    )
    def test_a_card_with_a_mistake_is_named(
        self, tmp_path: Path, text: str, complaint: str
    ) -> None:
        """Together with the mistake."""
        with pytest.raises(ModelUnavailable, match=complaint):
            find_card("mine", model_dir=write(tmp_path, text))


class TestFiles:
    @pytest.mark.parametrize("form", ["./my model.pt", "{}", "file://{}"])
    def test_files_are_named_by_path_or_address(
        self, tmp_path: Path, form: str
    ) -> None:
        """A relative path begins at the card."""
        weights = tmp_path / "my model.pt"
        weights.write_bytes(b"1")
        (tmp_path / "t.model").write_bytes(b"2")
        place = form.format(str(weights).replace(" ", "%20" if "file" in form else " "))
        text = f"name: mine\nmodel_family: wav2vec2_asr\ncheckpoint: {place}\n"
        folder = write(tmp_path, f"{text}tokenizer: t.model\n")

        found = fetching.download("mine", model_dir=folder)

        assert found == (weights, tmp_path / "t.model")

    def test_a_hash_in_the_card_is_compared(self, tmp_path: Path) -> None:
        """Also with a file on disk; without one, any file is taken."""
        weights = tmp_path / "w.pt"
        weights.write_bytes(b"weights")
        (tmp_path / "t.model").write_bytes(b"2")
        right = hashlib.sha256(b"weights").hexdigest().upper()
        text = (
            "name: mine\nmodel_family: wav2vec2_asr\ncheckpoint: w.pt\n"
            f"tokenizer: t.model\ncheckpoint_sha256: {right}\n"
        )
        folder = write(tmp_path, text)

        assert fetching.download("mine", model_dir=folder)[0] == weights
        weights.write_bytes(b"others")
        with pytest.raises(ModelUnavailable, match="is another file") as wrong:
            fetching.download("mine", model_dir=folder)
        assert str(weights) in str(wrong.value)
        assert f"should be {right} (checkpoint_sha256)" in str(wrong.value)

    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ("tokenizer: t", "has no checkpoint"),
            ("checkpoint: 7\ntokenizer: t", "an odd value, 7, for checkpoint"),
            ("checkpoint: hg://a/b\ntokenizer: t", "is hg://a/b; it must be"),
            ("checkpoint: cards.yaml", "has no tokenizer_ref"),
            ("checkpoint: cards.yaml\ntokenizer_ref: nobodys", "nobodys, which has no"),
            ("checkpoint: cards.yaml\ntokenizer: t", "tokenizer .* missing: .*t"),
        ],
    )
    def test_a_file_that_cannot_be_found_is_named(
        self, tmp_path: Path, fields: str, complaint: str
    ) -> None:
        """With the card and the field."""
        folder = write(tmp_path, f"name: mine\nmodel_family: wav2vec2_asr\n{fields}\n")

        with pytest.raises(ModelUnavailable, match=complaint):
            fetching.download("mine", model_dir=folder)
