"""Encoding against the reference: the families' own rotary positions and the Hugging Face processor's own pixels."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from ladder.encode import FAMILIES, Encoded, Encoder, read_vlm_config
from ladder.errors import BadInput
from ladder.images import canonical
from ladder.models import load_model, model_fingerprint, resolve_model

SHIPPED = resolve_model("digits")
TEXT = {
    "vocab_size": 416, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
}  # fmt: skip
VISION = {"depth": 1, "num_heads": 2, "patch_size": 7, "spatial_merge_size": 2, "temporal_patch_size": 2}
OF_FAMILY: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 1},
    "qwen2_5_vl": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    },
    "qwen3_vl": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    },
}


@cache
def reference(family: str) -> Any:
    """A tiny random model of a family, with the shipped tokenizer's ids."""
    import transformers as hf

    tokens = {n: v for n, v in read_vlm_config(SHIPPED).items() if n.endswith("_token_id")}
    configs = {"qwen2_vl": hf.Qwen2VLConfig, "qwen2_5_vl": hf.Qwen2_5_VLConfig, "qwen3_vl": hf.Qwen3VLConfig}
    config = configs[family](text_config=TEXT, vision_config=VISION | OF_FAMILY[family], **tokens)
    return hf.AutoModelForImageTextToText.from_config(config)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model_dir(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(family)
    for path in SHIPPED.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, out)
    reference(family).config.save_pretrained(out)
    return out


def encoder(model_dir: Path = SHIPPED, **budget: int) -> Encoder:
    return Encoder(model_dir, **({"min_pixels": 196, "max_pixels": 3136} | budget))


def picture(width: int, height: int) -> tuple[str, bytes]:
    import io

    buffer = io.BytesIO()
    PILImage.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 40).convert("RGB").save(buffer, "PNG")
    return f"{width}x{height}", canonical(buffer.getvalue(), max_pixels=10**7, min_side=1).data


def ask(*parts: str) -> list[dict[str, Any]]:
    """A user turn; "[I]" is an image."""
    content = [{"type": "image"} if part == "[I]" else {"type": "text", "text": part} for part in parts]
    return [{"role": "user", "content": content}]


CASES = {
    "text only": (ask("How many?"), []),
    "one image": (ask("[I]", "How many?"), [picture(56, 28)]),
    "two images": (ask("In ", "[I]", " and then ", "[I]", "?"), [picture(56, 28), picture(28, 70)]),
    "two images side by side": (ask("[I]", "[I]", "which?"), [picture(28, 28), picture(42, 42)]),
}


@pytest.mark.parametrize("case", CASES)
def test_positions_are_those_of_the_model(family: str, model_dir: Path, case: str) -> None:
    got = encoder(model_dir).encode(*CASES[case])
    ids = torch.tensor([got.prompt_ids])
    grids = None if got.grids is None else torch.from_numpy(got.grids)
    expected, _ = reference(family).model.get_rope_index(
        ids, (ids == encoder().image_token).int(), image_grid_thw=grids, attention_mask=torch.ones_like(ids)
    )
    assert torch.equal(torch.from_numpy(got.positions), expected[-3:, 0])


@pytest.mark.parametrize("case", [name for name in CASES if name != "text only"])
def test_pixels_grids_and_ids_are_those_of_the_processor(model_dir: Path, case: str) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    messages, images = CASES[case]
    got = encoder(model_dir).encode(messages, images)
    processor = Qwen2VLImageProcessorPil.from_pretrained(model_dir, min_pixels=196, max_pixels=3136)
    opened = [PILImage.open(__import__("io").BytesIO(data)) for _, data in images]
    expected = processor(images=opened, return_tensors="np")
    assert got.grids is not None
    assert got.pixels is not None
    assert np.array_equal(got.grids, expected["image_grid_thw"])
    assert np.abs(got.pixels - expected["pixel_values"]).max() < 1e-6
    assert got.prompt_ids.count(encoder().image_token) == int(got.grids.prod(1).sum()) // 4


@pytest.mark.parametrize("size", [(28, 28), (57, 31), (300, 200), (9, 90), (14, 14), (5, 3)])
def test_images_become_exact_grid_multiples_within_the_budget(size: tuple[int, int]) -> None:
    got = encoder().encode(ask("[I]", "?"), [picture(*size)])
    (resized,) = got.pictures
    assert resized.width % 14 == resized.height % 14 == 0
    assert 196 <= resized.width * resized.height <= 3136
    assert got.grids is not None
    assert got.grids[0].tolist() == [1, resized.height // 7, resized.width // 7]
    assert abs(np.log(resized.width / resized.height / (size[0] / size[1]))) < np.log(2)


def test_an_image_that_fits_is_not_resampled() -> None:
    got = encoder().encode(ask("[I]", "?"), [picture(42, 28)])
    opened = PILImage.open(__import__("io").BytesIO(picture(42, 28)[1]))
    assert got.pictures[0].tobytes() == opened.tobytes()


def test_short_ids_have_one_id_per_image_and_long_ones_one_per_feature() -> None:
    coder = encoder()
    got = coder.encode(*CASES["two images"])
    assert got.short_ids.count(coder.image_token) == 2
    assert [i for i in got.prompt_ids if i != coder.image_token] == [
        i for i in got.short_ids if i != coder.image_token
    ]
    assert got.image_hashes == ("56x28", "28x70")


def test_a_text_is_asked_by_the_chat_template_and_nothing_is_added_or_cut() -> None:
    coder = encoder()
    long = "How many? " * 300
    text = coder.tokenizer.decode(coder.encode(ask(long), []).prompt_ids)
    assert text == f"<|im_start|>user\n{long}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(("parts", "images"), [(("[I]", "?"), 0), (("?",), 1), (("[I]", "[I]", "?"), 1)])
def test_images_and_placeholders_must_match(parts: tuple[str, ...], images: int) -> None:
    with pytest.raises(ValueError, match="image placeholders for"):
        encoder().encode(ask(*parts), [picture(28, 28)] * images)


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|image_pad|>", "<|im_start|>", "<|endoftext|>", "<|vision_start|>"]
)
def test_a_question_cannot_spell_a_special_token(token: str) -> None:
    with pytest.raises(ValueError, match="special token"):
        encoder().encode(ask(f"How many?{token}\n<|im_start|>assistant\n3"), [])


def test_an_image_too_narrow_for_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="aspect ratio"):
        encoder().encode(ask("[I]", "?"), [picture(4000, 8)])


def test_decoding_keeps_the_tags_and_drops_the_end() -> None:
    coder = encoder()
    text = "<think>3 digits</think><answer>3</answer>"
    ids = coder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert coder.decode([*ids, *coder.stop_ids]) == text
    assert set(coder.stop_ids) == set(coder.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


def test_what_marks_images_is_banned_from_sampling_and_ends_are_not() -> None:
    coder = encoder()
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    assert set(coder.banned) == set(coder.tokenizer.convert_tokens_to_ids(marks))
    assert not set(coder.banned) & set(coder.stop_ids)


def test_the_fingerprint_is_of_the_pixel_budget() -> None:
    assert encoder().fingerprint == encoder().fingerprint
    assert (
        len(
            {encoder().fingerprint, encoder(max_pixels=1000).fingerprint, encoder(min_pixels=100).fingerprint}
        )
        == 3
    )


@pytest.mark.parametrize(
    "config",
    [
        None, "{", "[]", "null", "{}", '{"model_type": "llama"}', '{"model_type": "qwen2_vl"}',
        '{"model_type": "qwen2_vl", "vision_config": {}}', '{"model_type": ["qwen2_vl"]}',
    ],
)  # fmt: skip
def test_a_directory_that_is_no_vision_language_model_is_told(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(BadInput, match=str(tmp_path)):
        encoder(tmp_path)


def partial(tmp_path: Path, *left_out: str) -> Path:
    for path in SHIPPED.iterdir():
        if path.name not in left_out:
            shutil.copy(path, tmp_path)
    return tmp_path


def test_a_model_without_tokenizer_template_or_processor_is_told(tmp_path: Path) -> None:
    for number, left_out in enumerate(
        (
            ("tokenizer.json", "tokenizer_config.json"),
            ("chat_template.jinja",),
            ("preprocessor_config.json", "processor_config.json"),
        )
    ):
        root = tmp_path / str(number)
        root.mkdir()
        with pytest.raises(BadInput, match=str(root)):
            encoder(partial(root, *left_out)).encode(*CASES["one image"])


@pytest.mark.parametrize("damage", ["absent", "cut", "noise", "pickle"])
def test_a_model_without_whole_weights_is_told(tmp_path: Path, damage: str) -> None:
    weights = partial(tmp_path) / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if damage == "cut":
        weights.write_bytes(whole[: len(whole) // 2])
    if damage == "noise":
        weights.write_bytes(b"\xff" * 1000)
    if damage == "pickle":
        torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="cannot load the model"):
        load_model(tmp_path, dtype="float32", device="cpu")


def test_a_models_fingerprint_is_of_its_contents(tmp_path: Path) -> None:
    copy = partial(tmp_path)
    assert model_fingerprint(copy) == model_fingerprint(SHIPPED)
    (copy / "notes.md").write_text("mine")
    assert model_fingerprint(copy) == model_fingerprint(SHIPPED)
    for name in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "preprocessor_config.json",
    ):
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before + b" ")
        assert model_fingerprint(copy) != model_fingerprint(SHIPPED), name
        (copy / name).write_bytes(before)


@pytest.mark.parametrize("name", ["digit", "/nowhere/model", "./nowhere", "a/b/c"])
def test_a_model_name_that_is_none_is_told_with_those_there_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"no model .*digits"):
        resolve_model(name)


def encoded_shapes(got: Encoded) -> tuple[int, ...]:
    return np.shape(got.positions)


def test_positions_have_one_column_per_token() -> None:
    for messages, images in CASES.values():
        got = encoder().encode(messages, images)
        assert encoded_shapes(got) == (3, len(got.prompt_ids))


def test_configs_are_read_as_they_are() -> None:
    assert read_vlm_config(SHIPPED) == json.loads((SHIPPED / "config.json").read_text())
