"""Chat messages and images become token ids, image grids, pixels and positions. Shared by engines and trainer.

Images are resized here to exact grid multiples, so that no backend resizes again. Nothing is ever truncated: whoever
has a length limit rejects what does not fit. Families: Qwen2-VL, Qwen2.5-VL, Qwen3-VL. Leaves out videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.digest import fingerprint
from ladder.errors import BadInput
from ladder.images import open_canonical

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image as PILImage

    from ladder.prompts import Message

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True)
class Encoded:
    """One prompt as a model takes it; P tokens, N images, V vision patches in all.

    `prompt_ids` (P) have one id per image feature, `short_ids` one per image, as vLLM takes them. `positions` (3, P) are
    the temporal, height and width rotary positions. `pixels` (V, patch values) and `grids` (N, 3) are None without images.
    Pixels are made when they are first asked for: vLLM makes its own, and they are many times what the pictures take.
    """

    prompt_ids: list[int]
    short_ids: list[int]
    positions: np.ndarray
    grids: np.ndarray | None
    made: np.ndarray | Callable[[], np.ndarray] | None  # `pixels`, or what makes them
    pictures: tuple[PILImage.Image, ...]
    image_hashes: tuple[str, ...]

    @cached_property
    def pixels(self) -> np.ndarray | None:
        """(V, patch values), or None without images."""
        return self.made() if callable(self.made) else self.made


@dataclass(eq=False)
class Prompt:
    """What is asked, encoded when it is first needed: chat messages, and the images of their image parts in order as
    (hash, canonical bytes). Pickled, it is not encoded."""

    messages: list[Message]
    images: Sequence[tuple[str, bytes]] = ()
    _encoded: Encoded | None = field(default=None, repr=False)

    def encoded(self, encoder: Encoder) -> Encoded:
        """As `encoder` encodes it, once; raises ValueError where it cannot (Encoder.encode)."""
        if self._encoded is None:
            self._encoded = encoder.encode(self.messages, self.images)
        return self._encoded

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_encoded": None}


class Encoder:
    """Tokenizer, chat template and image processor of one model directory, under one pixel budget.

    Raises BadInput for a directory that holds no model of FAMILIES.
    """

    def __init__(self, model_dir: Path, *, min_pixels: int, max_pixels: int) -> None:
        self.config = read_vlm_config(model_dir)
        self.min_pixels, self.max_pixels = min_pixels, max_pixels
        self._dir = model_dir
        self.image_token = int(self.config["image_token_id"])
        self.banned = tuple(
            int(self.config[name])
            for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
            if self.config.get(name) is not None
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer, with the model's chat template."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._dir, trust_remote_code=False)
        except Exception as error:  # the libraries below raise anything for a broken file
            raise BadInput(f"{self._dir}: cannot read its tokenizer: {error}") from None
        if tokenizer.chat_template is None:
            raise BadInput(f"{self._dir}: the tokenizer has no chat template")
        if self.image_token not in tokenizer.added_tokens_decoder:
            raise BadInput(f"{self._dir}: the tokenizer does not know the image token {self.image_token}")
        return tokenizer

    @cached_property
    def _processor(self) -> Any:
        """The image processor's PIL form: the other one needs torchvision."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        try:
            return Qwen2VLImageProcessorPil.from_pretrained(
                self._dir, min_pixels=self.min_pixels, max_pixels=self.max_pixels
            )
        except (OSError, ValueError) as error:
            raise BadInput(f"{self._dir}: cannot read its image processor: {error}") from None

    @property
    def fingerprint(self) -> str:
        """Digest of what turns an image into pixels: the budget."""
        return fingerprint("encode-1", [self.min_pixels, self.max_pixels])

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a response: the end of a turn and the end of text."""
        names = [self.tokenizer.eos_token, "<|im_end|>", "<|endoftext|>"]
        ids = {self.tokenizer.convert_tokens_to_ids(name) for name in names if name}
        return tuple(sorted(i for i in ids if i is not None and i != self.tokenizer.unk_token_id))

    @property
    def pad_id(self) -> int:
        """The id that fills batches; masked everywhere."""
        pad = self.tokenizer.pad_token_id
        return self.stop_ids[0] if pad is None else int(pad)

    def encode(self, messages: list[Message], images: Sequence[tuple[str, bytes]]) -> Encoded:
        """Encode messages whose image parts are, in order, `images`: (hash, canonical bytes). Raises ValueError for a text
        that spells one of the tokenizer's special tokens, and for images that are too few, too many or too narrow."""
        short = self._short(messages, len(images))
        pictures = tuple(self._resized(open_canonical(data)) for _, data in images)
        grids = self._grids(pictures)
        merge = self._merge**2
        lengths = [] if grids is None else [int(g.prod()) // merge for g in grids]
        ids = _expand(short, self.image_token, lengths)
        return Encoded(
            prompt_ids=ids,
            short_ids=short,
            positions=rotary_positions(ids, self.image_token, grids, self._merge),
            grids=grids,
            made=partial(self._pixels, pictures) if pictures else None,
            pictures=pictures,
            image_hashes=tuple(h for h, _ in images),
        )

    def measure(self, messages: list[Message], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """How many tokens and vision patches `encode` would give for images of such (width, height); no image is needed.
        Raises ValueError where it would."""
        short, merge, patch = self._short(messages, len(sizes)), self._merge**2, self._processor.patch_size
        patches = [(w // patch) * (h // patch) for w, h in (self._fitted(*size) for size in sizes)]
        return len(short) - len(sizes) + sum(count // merge for count in patches), sum(patches)

    def _short(self, messages: list[Message], images: int) -> list[int]:
        """Token ids with one placeholder per image."""
        self._refuse_special(messages)
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        short: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        count = short.count(self.image_token)
        if count != images:
            raise ValueError(f"{count} image placeholders for {images} images")
        return short

    def _refuse_special(self, messages: list[Message]) -> None:
        """A pool's text must not end its own turn or name an image that is not there."""
        for part in (part for message in messages for part in message["content"]):
            found = [token for token in self._special if token in part.get("text", "")]
            if found:
                raise ValueError(f"the text holds the special token {found[0]}")

    @cached_property
    def _special(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if token.special and token.content.strip()]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The response as text: the format's tags kept, end markers dropped."""
        import numpy as np

        ids = np.asarray(token_ids, np.int64)  # of a list the tokenizer would look at every element
        return str(self.tokenizer.decode(ids[~np.isin(ids, self.stop_ids)], skip_special_tokens=False))

    @property
    def _merge(self) -> int:
        return int(self.config["vision_config"]["spatial_merge_size"])

    def _fitted(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as exact grid multiples within the pixel budget."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        factor = self._processor.patch_size * self._processor.merge_size
        height, width = smart_resize(height, width, factor, self.min_pixels, self.max_pixels)
        return width, height

    def _resized(self, image: PILImage.Image) -> PILImage.Image:
        from PIL import Image as PILImage

        size = self._fitted(*image.size)
        return image if size == image.size else image.resize(size, PILImage.Resampling.BICUBIC)

    def _grids(self, pictures: Sequence[PILImage.Image]) -> np.ndarray | None:
        import numpy as np

        size = self._processor.patch_size
        sides = [(1, picture.height // size, picture.width // size) for picture in pictures]
        return np.array(sides, np.int64) if sides else None

    def _pixels(self, pictures: Sequence[PILImage.Image]) -> np.ndarray:
        pixels: np.ndarray = self.patches(pictures)[0]
        return pixels

    def patches(self, pictures: Sequence[PILImage.Image]) -> tuple[Any, Any]:
        """Pixels (V, patch values) and grids (N, 3) of images that are exact grid multiples; None, None of none."""
        if not pictures:
            return None, None
        out = self._processor(images=list(pictures), do_resize=False, return_tensors="np")
        return out["pixel_values"], out["image_grid_thw"]


def image_inputs(
    prompts: Sequence[Encoded], device: torch.device, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """`pixel_values` and `image_grid_thw` of several prompts, in order, as the models' forward takes them; empty where
    no prompt has an image."""
    import numpy as np
    import torch

    seen = [(p.pixels, p.grids) for p in prompts if p.pixels is not None and p.grids is not None]
    if not seen:
        return {}
    return {
        "pixel_values": torch.from_numpy(np.concatenate([p for p, _ in seen])).to(device, dtype),
        "image_grid_thw": torch.from_numpy(np.concatenate([g for _, g in seen])).to(device),
    }


def read_vlm_config(model_dir: Path) -> dict[str, Any]:
    """The config.json of a vision-language model; raises BadInput where it is none that Ladder knows."""
    path = model_dir / "config.json"
    if not path.is_file():
        raise BadInput(f"{model_dir} is not a model: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in FAMILIES or "vision_config" not in config or "image_token_id" not in config:
        raise BadInput(
            f"{model_dir} is no vision-language model that Ladder can use: its model_type is "
            f"{kind!r}, and it must be one of {', '.join(FAMILIES)}"
        )
    return dict(config)


def rotary_positions(
    ids: Sequence[int], image_token: int, grids: np.ndarray | None, merge: int
) -> np.ndarray:
    """Multimodal rotary positions (3, P) of a prompt (Qwen2-VL, section 2.1): text counts on in all three axes, an
    image's features take (t, row, column) from where it starts, and what follows starts after their highest."""
    import numpy as np

    out = np.empty((3, len(ids)), np.int64)
    at, start, image = 0, 0, 0
    while at < len(ids):
        if ids[at] == image_token and grids is not None:
            t, h, w = (int(v) for v in grids[image] // np.array([1, merge, merge]))
            block = np.indices((t, h, w)).reshape(3, -1) + start
            image += 1
        else:
            run = at
            while run < len(ids) and (ids[run] != image_token or grids is None):
                run += 1
            block = np.tile(np.arange(start, start + run - at), (3, 1))
        out[:, at : at + block.shape[1]] = block
        at += block.shape[1]
        start = int(block.max()) + 1
    return out


def _expand(ids: Sequence[int], image_token: int, lengths: Sequence[int]) -> list[int]:
    """Repeat each image's placeholder once per feature."""
    left = iter(lengths)
    out: list[int] = []
    for token in ids:
        out.extend([token] * next(left) if token == image_token else [token])
    return out
