"""What a card may say of its network."""

from typing import Any

import pytest

from network.architecture import (
    ARCHITECTURES,
    Architecture,
    UnsupportedArchitecture,
    from_card,
)

DESCRIPTIONS = [[512, 10, 5], *[[512, 3, 2]] * 4, *[[512, 2, 2]] * 2]


class TestOverrides:
    def test_a_card_that_overrides_nothing_has_its_architecture(self) -> None:
        """Under the names of both versions."""
        assert from_card("300m") == Architecture()
        assert from_card("7b_v2", None) == ARCHITECTURES["7b_v2"]

    def test_sizes_are_taken_over(self) -> None:
        """Where the demo model's card has them."""
        override = {
            "target_vocab_size": 58,
            "final_dropout_p": 0.1,
            "encoder_config": {
                "model_dim": 192,
                "num_encoder_layers": 5,
                "num_encoder_attn_heads": 4,
                "norm_order": "PRE",
                "layer_drop_p": 0.0,
            },
        }

        found = from_card("300m_v2", override)

        assert found == Architecture(model_dim=192, n_layers=5, n_heads=4, n_labels=58)

    def test_the_last_word_counts(self) -> None:
        """`model_config` is the older name, `model_config_override` the newer."""
        older, newer = {"target_vocab_size": 10}, {"target_vocab_size": 20}

        assert from_card("1b", older, newer).n_labels == 20

    def test_the_width_of_features_is_that_of_the_last_convolution(self) -> None:
        """Said twice, it has to be the same."""
        narrow = [[64, kernel, stride] for _, kernel, stride in DESCRIPTIONS]
        encoder = {"feature_extractor_layer_descs": narrow, "feature_dim": 64}

        assert from_card("300m", {"encoder_config": encoder}).n_features == 64
        with pytest.raises(UnsupportedArchitecture, match="feature_dim is 32"):
            from_card("300m", {"encoder_config": {**encoder, "feature_dim": 32}})


class TestRefusals:
    @pytest.mark.parametrize("arch", ["300m_v3", None, 7])
    def test_an_unknown_architecture_is_named(self, arch: object) -> None:
        """With those that are known."""
        with pytest.raises(UnsupportedArchitecture, match=f"{arch}; .*300m, 1b"):
            from_card(arch)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("use_fbank", True),
            ("layer_norm_features", True),
            ("feature_extractor_bias", False),
            ("feature_extractor_layer_norm_convs", False),
            ("pos_encoder_type", "rotary"),
            ("pos_encoder_depth", 5),
            ("use_conformer", True),
            ("norm_order", "POST"),
            ("num_encoder_layers", 0),
            ("model_dim", "wide"),
            ("num_encoder_attn_heads", 7),
            ("num_pos_conv_groups", 7),
            ("feature_extractor_layer_descs", DESCRIPTIONS[:6]),
            ("feature_extractor_layer_descs", "none"),
            ("feature_extractor_layer_descs", [512] * 7),
            ("layers", 7),
        ],
    )
    def test_what_is_not_computed_is_named(self, field: str, value: object) -> None:
        """Instead of computed as if it were not there."""
        with pytest.raises(UnsupportedArchitecture, match=field):
            from_card("300m", {"encoder_config": {field: value}})

    @pytest.mark.parametrize(
        "override", [{"vocabulary": 7}, [1, 2], {"encoder_config": 3}]
    )
    def test_an_override_that_is_none_is_named(self, override: Any) -> None:
        """At the level where it stands."""
        with pytest.raises(UnsupportedArchitecture, match=r"vocabulary|_config"):
            from_card("300m", override)
