"""What the checks of other trainers share. They run in environments of those trainers, without Ladder: what a reader must
find is in a JSON file that benchmarks/exports.py writes from the ladder itself.

`python NAME.py EXPORT EXPECTED MODEL` prints one JSON object: what was compared, and whether it was equal.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def _importable_torchvision() -> object:
    """Beside a CPU torch the index has torchvision's CUDA build only, whose library does not load: of it the Python part is
    used here, and that asks for these operators to be there. They live as long as what is returned."""
    import torch

    if torch.version.cuda is not None:
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_OPERATORS = _importable_torchvision()


def arguments() -> tuple[Path, list[Row], str]:
    """The export's directory, the rows that its training part must have, and the model's directory."""
    export, expected, model = sys.argv[1:4]
    rows: list[Row] = json.loads(Path(expected).read_text(encoding="utf-8"))
    return Path(export), rows, model


def pixels(image: Any) -> str:
    """Digest of a picture's size and RGB pixels, as the expected rows have it; of a PIL image, bytes, a path or a struct."""
    from PIL import Image

    if isinstance(image, dict):
        image = image["bytes"] if image.get("bytes") else image["path"]
    if isinstance(image, bytes):
        image = io.BytesIO(image)
    if not isinstance(image, Image.Image):
        image = Image.open(str(image).removeprefix("file://") if isinstance(image, str) else image)
    image = image.convert("RGB")
    return hashlib.blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).hexdigest()


def parts(content: Any) -> list[Row]:
    """A turn's content as parts of text and images, without what else a reader adds to them."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return [
        {"type": "text", "text": part["text"]} if part["type"] == "text" else {"type": "image"}
        for part in content
    ]


def turns(messages: list[Row]) -> list[Row]:
    """Chat turns with their content as `parts`."""
    return [{"role": turn["role"], "content": parts(turn["content"])} for turn in messages]


def marked(content: str) -> list[Row]:
    """A text with `<image>` marks as parts."""
    found: list[Row] = []
    for number, piece in enumerate(content.split("<image>")):
        found += [{"type": "image"}] if number else []
        found += [{"type": "text", "text": piece}] if piece else []
    return found


def report(found: list[Row], expected: list[Row], packages: list[str], **more: Any) -> None:
    """Print what was read beside what was expected: for each thing, in how many rows it is equal."""
    names = ("id", "turns", "images", "gold")
    pairs = list(zip(found, expected, strict=False))
    equal = {
        name: sum(one[name] == other[name] for one, other in pairs)
        for name in names
        if found and name in found[0]
    }
    wrong = [name for name in equal if equal[name] != len(expected)]
    first = next(
        (
            (name, one[name], other[name])
            for name in wrong
            for one, other in pairs
            if one[name] != other[name]
        ),
        None,
    )
    versions = {name: version(name) for name in packages}
    told = {"rows": len(found), "expected": len(expected), "equal": equal, "versions": versions, **more}
    print(json.dumps(told | {"first_difference": first}))
