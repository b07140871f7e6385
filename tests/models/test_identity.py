"""What besides its weights decides a model's probabilities, and what does not."""

import shutil
from pathlib import Path

from model_directories import change_config, change_json

from atlas.models.identity import ModelIdentity, directory_identity, stored_identity
from atlas.models.load import load_model


def identity_of(directory: Path, objective: str) -> ModelIdentity:
    return directory_identity(directory, directory, objective)


def test_whatever_can_change_a_probability_is_another_identity(bert: Path) -> None:
    before = identity_of(bert, "masked")
    assert identity_of(bert, "masked") == before
    assert identity_of(bert, "causal").unlike(before) == "objective"
    change_config(bert, layer_norm_eps=0.1)
    assert identity_of(bert, "masked").unlike(before) == "config.json"
    change_json(bert / "tokenizer_config.json", do_lower_case=True, model_max_length=7)
    now = identity_of(bert, "masked")
    assert now.unlike(before) == "config.json and tokenizer files"
    with (bert / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert identity_of(bert, "masked").unlike(now) == "tokenizer files"


def test_what_cannot_change_a_probability_is_no_other_identity(bert: Path, tmp_path: Path) -> None:
    change_config(bert)  # which drops what is null
    before = identity_of(bert, "masked")
    change_config(
        bert,
        transformers_version="9.0.0",
        torch_dtype="float16",
        dtype="float16",
        use_cache=False,
        architectures=None,
        temperature=0.1,
        _name_or_path="elsewhere",
        text_config={"use_cache": True},
    )
    nested = identity_of(bert, "masked")
    assert nested.unlike(before) == "config.json"  # a part that was not there
    change_config(bert, text_config={"use_cache": False, "dtype": "float32"})
    assert identity_of(bert, "masked") == nested
    change_config(bert, text_config=None)
    change_json(bert / "tokenizer_config.json", chat_template="{{ messages }}")
    (bert / "chat_template.jinja").write_text("{{ messages }}")
    (bert / "generation_config.json").write_text("{}")
    (bert / "README.md").write_text("a model")
    assert identity_of(bert, "masked") == before
    moved = shutil.copytree(bert, tmp_path / "moved")
    assert identity_of(moved, "masked") == before


def test_an_identity_is_stored_as_one_text() -> None:
    identity = ModelIdentity("causal", conversion=3)
    assert stored_identity(str(identity)) == identity
    assert stored_identity(None) is None
    assert ModelIdentity("causal", conversion=4).unlike(identity) == "conversion of its GGUF file"


def test_a_loaded_model_knows_its_identity_and_its_attention(saved_bert: Path) -> None:
    lm = load_model(str(saved_bert), device="cpu")
    assert lm.identity == identity_of(saved_bert, "masked")
    assert lm.attention == "sdpa"
    assert load_model(str(saved_bert), device="cpu", attention="eager").attention == "eager"
