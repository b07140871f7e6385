"""Edits as PEFT adapters: to peft they are the live edited model, to the atlas they come back."""

import copy
import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edit_models import ENCODED, WEIGHTS, language_model, random_edit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import PROJECTIONS
from processes import run as run_python
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny_models import CAUSAL, FAMILIES, tiny
from torch import nn

import atlas
from atlas.edits.adapter import read_adapter, write_adapter
from atlas.edits.edit import Edit
from atlas.errors import EditError
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model


def _needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


needs_peft = _needs("peft")
# peft 0.21 asks transformers 5 for what it is about to rename
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


def _ids(lm: LanguageModel) -> torch.Tensor:
    return torch.tensor(ENCODED) % lm.model.config.vocab_size


def _logits(lm: LanguageModel, edits: Sequence[Edit] = ()) -> torch.Tensor:
    with atlas.applied(lm, edits), torch.no_grad():
        return lm.model(input_ids=_ids(lm)).logits


def _with_adapter(lm: LanguageModel, directory: Path) -> Any:
    import peft

    return peft.PeftModel.from_pretrained(copy.deepcopy(lm.model), directory).eval()


def _asked(model: Any, lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=_ids(lm)).logits


def _assert_alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def _rank_one(lm: LanguageModel, seed: int, layer: int = 1) -> Edit:
    """The change u tᵀ of twelve neurons of a layer."""
    draw = np.random.default_rng(seed)
    return Edit(
        kind="update",
        method="solve",
        weights_sha256=lm.weights_sha256,
        layers=[layer] * 12,
        neurons=draw.choice(lm.neurons_per_layer, 12, replace=False),
        deltas=np.outer(draw.normal(size=12), draw.normal(0, 0.5, lm.d_model)),
    )


def _config(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))


def _content(directory: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(directory / "adapter_model.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@needs_peft
@pytest.mark.parametrize("family", FAMILIES)
def test_to_peft_an_adapter_is_the_live_edited_model(family: str, tmp_path: Path) -> None:
    lm = language_model(family)
    edits = [random_edit(lm, 1), random_edit(lm, 3, neurons=7)]
    directory = write_adapter(lm, edits, tmp_path / "adapter")
    edited = _logits(lm, edits)
    assert (edited - _logits(lm)).abs().max() > 0.1
    _assert_alike(_asked(_with_adapter(lm, directory), lm), edited)
    assert _config(directory)["target_modules"] == sorted(
        {PROJECTIONS[family].format(layer) for edit in edits for layer in edit.layers.tolist()}
    )


@needs_peft
def test_an_adapter_loads_with_plain_peft_in_a_fresh_process(tmp_path: Path) -> None:
    for family in ("gpt2", "bert"):
        own, tokenizer = tiny(family)
        own.save_pretrained(tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        lm = load_model(str(tmp_path / family), device="cpu")
        edits = [random_edit(lm, 1), random_edit(lm, 2)]
        write_adapter(lm, edits, tmp_path / f"{family}-adapter")
        np.save(tmp_path / f"{family}.npy", _logits(lm, edits).numpy())
    code = """
        import sys, numpy, torch, warnings
        from peft import AutoPeftModelForCausalLM, PeftModel
        from transformers import AutoModelForMaskedLM

        ids = torch.tensor([[7, 11, 9, 23, 8, 14], [12, 9, 30, 8, 21, 10], [31, 8, 22, 7, 13, 9]])
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        base = AutoModelForMaskedLM.from_pretrained(sys.argv[1] + "/bert")
        models = {
            "bert": PeftModel.from_pretrained(base, sys.argv[1] + "/bert-adapter"),
            "gpt2": AutoPeftModelForCausalLM.from_pretrained(sys.argv[1] + "/gpt2-adapter"),
        }
        for name, model in models.items():
            with torch.no_grad():
                logits = model.eval()(input_ids=ids % model.config.vocab_size).logits.numpy()
            expected = numpy.load(f"{sys.argv[1]}/{name}.npy")
            assert numpy.abs(logits - expected).max() <= 1e-5, name
        assert "atlas" not in sys.modules
    """
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


@needs_peft
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_three_edits_stack_as_three_adapters(family: str, tmp_path: Path) -> None:
    lm = language_model(family)
    names = ["one", "two", "three"]
    edits = {name: random_edit(lm, seed, seed + 2) for seed, name in enumerate(names)}
    for name, edit in edits.items():
        write_adapter(lm, [edit], tmp_path / name)
    model = _with_adapter(lm, tmp_path / "one")
    for name in edits:
        model.load_adapter(tmp_path / name, name)
    for chosen in (names, ["three", "one"], ["two"]):
        model.base_model.set_adapter(chosen)
        _assert_alike(_asked(model, lm), _logits(lm, [edits[name] for name in chosen]))
    with model.disable_adapter():
        _assert_alike(_asked(model, lm), _logits(lm))


@needs_peft
def test_an_adapter_merges_into_its_base_model_where_a_model_is_named(tmp_path: Path) -> None:
    own, tokenizer = tiny("gpt2")
    own.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base = load_model(str(tmp_path / "base"), device="cpu")
    edit = random_edit(base, 1)
    merged = load_model(str(write_adapter(base, [edit], tmp_path / "adapter")), device="cpu")
    with atlas.applied(base, edit):
        for layer in range(base.layers):
            assert torch.equal(merged.value_vectors(layer), base.value_vectors(layer))
    assert merged.weights_sha256 != base.weights_sha256


@needs_peft
def test_an_edit_of_one_rank_is_an_adapter_of_one_rank_beside_others_of_more(
    tmp_path: Path,
) -> None:
    lm = language_model("llama")
    draw = np.random.default_rng(0)
    whole = Edit(
        kind="update",
        method="solve",
        weights_sha256=WEIGHTS,
        layers=[2] * 3,
        neurons=[1, 2, 3],
        deltas=draw.normal(0, 0.5, (3, lm.d_model)),
    )
    edits = [_rank_one(lm, 1), whole, _rank_one(lm, 2, layer=0)]
    directory = write_adapter(lm, edits, tmp_path / "adapter")
    config, (tensors, _) = _config(directory), _content(directory)
    unlike = {f"model.layers.{layer}.mlp.down_proj": 1 for layer in (0, 1)}
    assert (config["r"], config["lora_alpha"]) == (3, 3)
    assert config["rank_pattern"] == config["alpha_pattern"] == unlike
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_{part}.weight": shape
        for layer, rank in ((0, 1), (1, 1), (2, 3))
        for part, shape in (("A", (rank, 40)), ("B", (32, rank)))
    }
    model = _with_adapter(lm, directory)
    _assert_alike(_asked(model, lm), _logits(lm, edits))
    scales = {
        scale
        for module in model.modules()
        if isinstance(getattr(module, "scaling", None), dict)
        for scale in module.scaling.values()
    }
    assert scales == {1.0}


@needs_peft
@_needs("bitsandbytes")
@pytest.mark.filterwarnings("ignore:MatMul8bitLt. inputs will be cast")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_adds_the_edit_to_an_8_bit_model_on_the_cpu(family: str, tmp_path: Path) -> None:
    import peft
    import transformers

    lm = language_model(family)
    lm.model.save_pretrained(tmp_path / "base")
    edit = random_edit(lm, 1, neurons=7)
    directory = write_adapter(lm, [edit], tmp_path / "adapter")
    eight = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base",
        quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True),
        device_map="cpu",
        dtype=torch.float32,
    )
    rounding = (_asked(eight, lm) - _logits(lm)).abs().max()
    effect = (_logits(lm, [edit]) - _logits(lm)).abs().max()
    edited = peft.PeftModel.from_pretrained(eight, directory).eval()
    assert any("8bit" in type(module).__name__ for module in edited.modules())
    apart = (_asked(edited, lm) - _logits(lm, [edit])).abs().max()
    assert apart < 2 * rounding < effect / 4


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_gives_the_same_edits_back(family: str, tmp_path: Path) -> None:
    lm = language_model(family)
    edits = [random_edit(lm, 1), random_edit(lm, 2, neurons=9), random_edit(lm, 1, neurons=2)]
    back = read_adapter(write_adapter(lm, edits, tmp_path / "adapter"))
    assert [edit.digest for edit in back] == [edit.digest for edit in edits]
    assert {edit.edit_id for edit in back} == {None}
    assert (back[0].new_object, back[0].settings) == ("Galway", {"seed": 1})
    assert {edit.weights_sha256 for edit in back} == {WEIGHTS}


def test_an_edit_of_one_rank_comes_back_up_to_rounding(tmp_path: Path) -> None:
    lm = language_model("gpt2")
    edit = _rank_one(lm, 1)
    (back,) = read_adapter(write_adapter(lm, [edit], tmp_path / "adapter"))
    assert back.equals(edit)
    assert set(back.named_neurons) == set(edit.named_neurons)
    np.testing.assert_allclose(back.deltas, edit.deltas, rtol=0, atol=1e-6)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_edits_of_any_shape_come_back(tmp_path: Path, data: st.DataObject) -> None:
    lm = language_model(data.draw(st.sampled_from(["bert", "gpt2", "albert"])))
    places = st.tuples(st.integers(0, lm.layers - 1), st.integers(0, lm.neurons_per_layer - 1))
    edits = []
    for _ in range(data.draw(st.integers(1, 3))):
        neurons = data.draw(st.lists(places, min_size=1, max_size=30, unique=True))
        draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        rank = data.draw(st.integers(1, 3))
        deltas = draw.normal(size=(len(neurons), rank)) @ draw.normal(size=(rank, lm.d_model))
        edits.append(
            Edit(
                kind="suppress",
                method="scale",
                weights_sha256=WEIGHTS,
                layers=[layer for layer, _ in neurons],
                neurons=[neuron for _, neuron in neurons],
                deltas=deltas,
            )
        )
    back = read_adapter(write_adapter(lm, edits, tmp_path / "adapter", force=True))
    assert len(back) == len(edits)
    assert all(mine.equals(theirs) for mine, theirs in zip(edits, back, strict=True))
    by_edits = _changes(lm, edits)
    tensors, _ = _content(tmp_path / "adapter")
    for name in {name.rpartition(".lora_")[0] for name in tensors}:
        added = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
        np.testing.assert_allclose(added, by_edits[name], rtol=0, atol=1e-5)


def _changes(lm: LanguageModel, edits: Sequence[Edit]) -> dict[str, np.ndarray]:
    """What edits add to each changed value projection, [d_model, neuron]."""
    found: dict[str, np.ndarray] = {}
    for edit in edits:
        for (layer, neuron), delta in zip(edit.named_neurons, edit.deltas, strict=True):
            name = f"base_model.model.{PROJECTIONS[lm.architecture].format(layer)}"
            found.setdefault(name, np.zeros((lm.d_model, lm.neurons_per_layer)))[:, neuron] += delta
    return found


def test_what_peft_reads_says_which_model_and_how(tmp_path: Path) -> None:
    gpt2, bert = (
        write_adapter(lm, [random_edit(lm, 1)], tmp_path / lm.architecture)
        for lm in (language_model("gpt2"), language_model("bert"))
    )
    said = [
        (config["peft_type"], config["task_type"], config["fan_in_fan_out"], config["bias"])
        for config in (_config(gpt2), _config(bert))
    ]
    assert said == [("LORA", "CAUSAL_LM", True, "none"), ("LORA", None, False, "none")]
    assert _config(bert)["base_model_name_or_path"] == "tiny-bert"
    assert _content(bert)[1]["format"] == "pt"
    assert {path.name for path in bert.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_an_adapter_of_the_embedded_model_names_it(tmp_path: Path) -> None:
    lm = load_model("mini-bert", device="cpu", trial=False)
    directory = write_adapter(lm, [random_edit(lm, 1)], tmp_path / "adapter")
    assert _config(directory)["base_model_name_or_path"] == "mini-bert"


def test_equal_edits_are_equal_files(tmp_path: Path) -> None:
    lm = language_model("phi")
    first, second = (
        write_adapter(lm, [_rank_one(lm, 1), random_edit(lm, 2)], tmp_path / name) for name in "ab"
    )
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def _of_another_model(lm: LanguageModel) -> LanguageModel:
    return dataclasses.replace(lm, weights_sha256="f0" * 32)


def _of_no_linear_layer(lm: LanguageModel) -> LanguageModel:
    class Gathered(nn.Module):
        weight = nn.Parameter(torch.zeros(40, 24))

    block = dataclasses.replace(lm.blocks[0], value_projection=Gathered())
    return dataclasses.replace(lm, blocks=(block,) * len(lm.blocks))


def _of_shared_weights(lm: LanguageModel) -> LanguageModel:
    model = copy.deepcopy(lm.model)
    layers = model.bert.encoder.layer
    for layer in layers[1:]:
        layer.output.dense.weight = layers[0].output.dense.weight
    return LanguageModel.from_parts(
        model=model,
        tokenizer=lm.tokenizer,
        name="tied",
        revision=None,
        weights_sha256=WEIGHTS,
        dtype="float32",
        device="cpu",
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (_of_another_model, "this edit was made for the model with weights e1e1e1e1e1e1, but"),
        (_of_no_linear_layer, "PEFT adapts no Gathered, which the value projection of layer"),
        (_of_shared_weights, "shares its weights with bert.encoder.layer."),
    ],
)
def test_a_model_that_an_adapter_cannot_change_alike_is_refused_and_nothing_is_written(
    changed: Callable[[LanguageModel], LanguageModel], says: str, tmp_path: Path
) -> None:
    lm = language_model("bert")
    with pytest.raises(EditError, match=says) as caught:
        write_adapter(changed(lm), [random_edit(lm, 1)], tmp_path / "adapter")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_only_an_adapter_is_replaced_and_only_with_force(tmp_path: Path) -> None:
    lm = language_model("bert")
    edits = [random_edit(lm, 1)]
    target = write_adapter(lm, edits, tmp_path / "adapter")
    with pytest.raises(EditError, match="have it replaced"):
        write_adapter(lm, edits, target)
    before = (target / "adapter_model.safetensors").read_bytes()
    write_adapter(lm, [random_edit(lm, 2)], target, force=True)
    assert (target / "adapter_model.safetensors").read_bytes() != before
    (target / "optimizer.pt").write_text("days of training")
    for kept in (target, tmp_path):
        with pytest.raises(EditError, match="something other than an adapter"):
            write_adapter(lm, edits, kept, force=True)
    assert (target / "optimizer.pt").read_text() == "days of training"
    with pytest.raises(EditError, match="is a file"):
        write_adapter(lm, edits, target / "optimizer.pt", force=True)
    with pytest.raises(EditError, match="no directory"):
        write_adapter(lm, edits, tmp_path / "nowhere" / "adapter")
    with pytest.raises(EditError, match="no edit to write"):
        write_adapter(lm, [], tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_failed_write_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)  # the config, behind the tensors
    lm = language_model("bert")
    with pytest.raises(EditError, match=r"cannot be written: .*No space left"):
        write_adapter(lm, [random_edit(lm, 1)], tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


@cache
def _sound(directory: Path) -> Path:
    lm = language_model("bert")
    draw = np.random.default_rng(4)
    edit = Edit(
        kind="update",
        method="solve",
        weights_sha256=WEIGHTS,
        layers=[0, 0, 1],
        neurons=[1, 2, 3],
        deltas=draw.normal(size=(3, lm.d_model)),
    )
    return write_adapter(lm, [edit], directory / "sound")


@pytest.fixture
def adapter(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a BERT of rank 2 in layer 0 and rank 1 in layer 1, to be spoilt."""
    sound = _sound(tmp_path_factory.getbasetemp())
    return Path(shutil.copytree(sound, tmp_path / "adapter"))


STEM = "base_model.model.bert.encoder.layer.0.output.dense"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "sets use_dora, so it is more than changes of value vectors"),
        ({"use_rslora": True}, "sets use_rslora"),
        ({"bias": "lora_only"}, "sets bias"),
        ({"lora_bias": True}, "sets lora_bias"),
        ({"modules_to_save": ["cls"]}, "sets modules_to_save"),
        ({"trainable_token_indices": [1]}, "sets trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "sets layer_replication"),
        ({"target_parameters": ["w"]}, "sets target_parameters"),
        ({"peft_type": "IA3"}, "holds an adapter of the kind IA3"),
        ({"peft_type": None}, "holds an adapter of the kind None"),
        ({"r": 4}, r"is of rank 4 in bert.encoder.layer.0.output.dense by its config, .* 2 × 40"),
        ({"rank_pattern": {}}, r"is of rank 2 in bert.encoder.layer.1.output.dense by its config"),
        ({"rank_pattern": None}, "is damaged"),
        ({"r": "two"}, "is of rank two"),
        ({"lora_alpha": 1}, "has the strength 0.5 in bert.encoder.layer.0.output.dense"),
        ({"alpha_pattern": {}}, "has the strength 2 in bert.encoder.layer.1.output.dense"),
        ({"target_modules": ["query"]}, "has other modules than its config names"),
        ({"target_modules": None}, "is damaged"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_config_that_no_edit_can_be_is_one_line(
    adapter: Path, change: dict[str, Any], says: str
) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**_config(adapter), **change}), encoding="utf-8")
    _refused(adapter, says)


def test_a_config_that_peft_wrote_anew_is_the_same(adapter: Path) -> None:
    defaults = {
        "auto_mapping": None,
        "peft_version": "0.21.2",
        "init_lora_weights": True,
        "exclude_modules": None,
        "loftq_config": {},
        "megatron_core": "megatron.core",
        "qalora_group_size": 16,
        "use_qalora": False,
        "layers_to_transform": None,
        "lora_bias": False,
    }
    expected = read_adapter(adapter)[0].digest
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**_config(adapter), **defaults}), encoding="utf-8")
    assert read_adapter(adapter)[0].digest == expected


def _renamed(tensors: dict[str, np.ndarray], old: str, new: str) -> dict[str, np.ndarray]:
    return {name.replace(old, new): values for name, values in tensors.items()}


def _elsewhere(tensors: Any, metadata: Any, config: Any) -> Any:
    """Another module under all its names, so that only the architecture's table can tell."""
    old, new = "layer.0.output.dense", "layer.0.attention.output.dense"
    config["target_modules"] = [name.replace(old, new) for name in config["target_modules"]]
    edits = metadata["edits"].replace(old, new)
    return _renamed(tensors, old, new), {**metadata, "edits": edits}


def _without(tensors: Any, metadata: Any, config: Any) -> Any:
    return {k: v for k, v in tensors.items() if k != f"{STEM}.lora_B.weight"}, metadata


def _added(tensors: Any, metadata: Any, config: Any) -> Any:
    config["target_modules"].append("cls.predictions.transform.dense")
    stem = "base_model.model.cls.predictions.transform.dense"
    more = {f"{stem}.lora_A.weight": np.zeros((2, 24)), f"{stem}.lora_B.weight": np.zeros((24, 2))}
    return {**tensors, **more}, metadata


def _dora(tensors: Any, metadata: Any, config: Any) -> Any:
    return {**tensors, f"{STEM}.lora_magnitude_vector": np.ones(24, np.float32)}, metadata


def _of_another_architecture(tensors: Any, metadata: Any, config: Any) -> Any:
    return tensors, {**metadata, "architecture": "llama"}


def _rank_added(tensors: Any, metadata: Any, config: Any) -> Any:
    name = f"{STEM}.lora_A.weight"
    return {**tensors, name: np.concatenate([tensors[name]] * 2)}, metadata


def _foreign(tensors: Any, metadata: Any, config: Any) -> Any:
    return tensors, {"format": "pt"}


def _changed(tensors: Any, metadata: Any, config: Any) -> Any:
    name = f"{STEM}.lora_B.weight"
    return {**tensors, name: 2 * tensors[name]}, metadata


def _of_another_fact(tensors: Any, metadata: Any, config: Any) -> Any:
    return tensors, {
        **metadata,
        "edits": metadata["edits"].replace('"kind": "update"', '"kind": "erase"'),
    }


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_elsewhere, "changes bert.encoder.layer.0.attention.output.dense, which is no value proj"),
        (_of_another_architecture, "no value projection of its edits in a model of the kind llama"),
        (_without, "has no lora_A and lora_B of bert.encoder.layer.0.output.dense"),
        (_added, "changes cls.predictions.transform.dense, which is no value projection"),
        (_dora, "has no lora_A and lora_B of .*lora_magnitude_vector"),
        (_rank_added, "is of rank 2 in bert.encoder.layer.0.output.dense by its config"),
        (_foreign, "does not say which edits it holds: only an adapter that `atlas edit export`"),
        (_changed, "is damaged, its content does not match what it says"),
        (_of_another_fact, "is damaged, its content does not match what it says"),
    ],
)
def test_tensors_that_no_edit_can_be_are_one_line(
    adapter: Path, spoil: Callable[[Any, Any, Any], Any], says: str
) -> None:
    tensors, metadata = _content(adapter)
    config = _config(adapter)
    tensors, metadata = spoil(tensors, metadata, config)
    save_file(tensors, adapter / "adapter_model.safetensors", metadata)
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    _refused(adapter, says)


def _refused(adapter: Path, says: str) -> None:
    with pytest.raises(EditError, match=says) as caught:
        read_adapter(adapter)
    assert "\n" not in str(caught.value)


def test_every_truncation_and_every_flipped_byte_is_refused_in_one_line(adapter: Path) -> None:
    expected = read_adapter(adapter)[0].digest
    draw, said, read = np.random.default_rng(0), set(), set()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        path = adapter / name
        sound = path.read_bytes()
        spoilt = [sound[:cut] for cut in draw.integers(0, len(sound), 25)]
        for place in draw.integers(0, len(sound), 150):
            flipped = bytearray(sound)
            flipped[place] ^= 1 << int(draw.integers(8))
            spoilt.append(bytes(flipped))
        for content in spoilt:
            path.write_bytes(content)
            try:
                read.add(read_adapter(adapter)[0].digest)
            except EditError as error:
                said.add(str(error))
        path.write_bytes(sound)
    assert read == {expected}  # what the base model is called decides no edit
    assert said
    assert not any("\n" in line for line in said)


def test_a_directory_without_an_adapter_says_what_it_lacks(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.rename(adapter / "adapter_model.bin")
    _refused(adapter, "adapter_model.bin' is a pickle")
    (adapter / "adapter_model.bin").unlink()
    _refused(adapter, "lacks adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text("[]")
    weights.write_bytes(b"")
    _refused(adapter, "is not a JSON object")
    (adapter / "adapter_config.json").unlink()
    _refused(adapter, "holds no adapter, it has no adapter_config.json")


def test_all_causal_models_are_adapted_as_such(tmp_path: Path) -> None:
    for family in CAUSAL:
        lm = language_model(family)
        config = _config(write_adapter(lm, [random_edit(lm, 1)], tmp_path / family))
        assert config["task_type"] == "CAUSAL_LM"
