"""ms-swift's load_dataset reads the export under the settings that it names."""

from __future__ import annotations

import os
import tempfile

from common import arguments, marked, pixels, report


def main() -> None:
    export, expected, _ = arguments()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODELSCOPE_CACHE"] = folder
        from swift.dataset import load_dataset

        data, rest = load_dataset(
            [str(export / "train.jsonl")],
            shuffle=False,
            split_dataset_ratio=0,
            strict=True,
            remove_unused_columns=False,
            load_from_cache_file=False,
        )
        found = [
            {
                "id": row["id"],
                "turns": [
                    {"role": turn["role"], "content": marked(turn["content"])} for turn in row["messages"]
                ],
                "images": [pixels(image) for image in row["images"] or []],
                "gold": row["solution"],
            }
            for row in data
        ]
    assert rest is None
    kept = sum(bool(row["ladder"]) for row in data)
    report(found, expected, ["ms-swift", "transformers", "datasets", "torch"], kept=kept)


if __name__ == "__main__":
    main()
