"""The training formats of other tools, as shipped pipelines read them: where their files lie is all that is said."""

import base64
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_pools import imported, items, picture, struct, write_lines

from ladder.records import AnswerType, Item, Reject

SYSTEM = {"role": "system", "content": "Think in <think> tags, then answer in <answer> tags."}
TEXT = {"type": "text", "text": "How many?"}
CHOICE = "Which is it?\nChoices:\nA. a cat\nB. a dog"


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}


def shown(image: str) -> dict[str, Any]:
    return {"type": "image", "image": image}


def write_parquet(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def reasons(found: list[Item | Reject]) -> list[str]:
    return [one.reason if isinstance(one, Reject) else "" for one in found]


def is_choice(item: Item, images: int = 1) -> bool:
    """Whether an item asks CHOICE, whose right option is B."""
    asked = item.question.removesuffix("\nChoices:").strip() == "<image>" * images + "Which is it?"
    return asked and (item.options, item.gold) == (("a cat", "a dog"), "B")


@pytest.mark.parametrize("image", ["path", "file", "uri"])
@pytest.mark.parametrize("written", [True, False])
def test_openrlhf_messages_are_turns_or_a_text_of_them(tmp_path: Path, image: str, written: bool) -> None:
    data = picture(tmp_path / "img", 1)
    place = {
        "path": "img/1.png",
        "file": f"file://{tmp_path}/img/1.png",
        "uri": f"data:image/png;base64,{base64.b64encode(data).decode()}",
    }[image]
    message: Any = [SYSTEM, user(shown(place), TEXT)]
    row = {"message": json.dumps(message) if written else message, "answer": "$3$"}
    write_lines(tmp_path / "train.jsonl", row | {"id": 7, "datasource": "geo"})
    (found,) = items("openrlhf", tmp_path)
    assert (found.question, found.gold, found.answer_type) == ("<image>How many?", "$3$", AnswerType.INTEGER)
    assert (len(found.images), found.source_id, found.subject) == (1, "7", "geo")


def test_openrlhf_answers_are_unboxed_and_options_taken_out(tmp_path: Path) -> None:
    picture(tmp_path, 1)
    boxed = {"message": [user(TEXT)], "answer": "\\boxed{\\frac{1}{2}}"}
    chosen = {"message": [user(shown("1.png"), {"type": "text", "text": CHOICE})], "answer": "$B$"}
    (tmp_path / "train.json").write_text(json.dumps([boxed, chosen]))
    first, second = items("openrlhf", tmp_path)
    assert (first.question, first.images, first.gold) == ("How many?", (), "\\frac{1}{2}")
    assert (second.gold, len(second.images)) == ("$B$", 1)
    assert (second.options, second.answer_type) == (("a cat", "a dog"), AnswerType.OPTION)


def test_openrlhf_images_outside_the_root_are_rejects(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere", 1)
    places = [f"file://{tmp_path}/elsewhere/1.png", "../elsewhere/1.png", "https://example.org/1.png"]
    rows = [{"message": [user(shown(place), TEXT)], "answer": "3"} for place in places]
    write_lines(tmp_path / "pool" / "train.jsonl", *rows)
    found = imported("openrlhf", tmp_path / "pool")
    assert reasons(found) == ["image_outside_root", "image_outside_root", "image_is_url"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_openrlhf_prompts_have_their_images_beside(tmp_path: Path, kind: str) -> None:
    picture(tmp_path, 1)
    picture(tmp_path, 2)
    row = {"prompt": [user({"type": "image"}, {"type": "image"}, TEXT)], "images": ["1.png", "2.png"]}
    if kind == "jsonl":
        write_lines(
            tmp_path / "a.jsonl",
            row | {"label": "3"},
            {"prompt": "<image>\nHow many?", "images": ["1.png"], "label": "4"},
        )
    else:
        write_parquet(tmp_path / "data" / "a.parquet", row | {"label": "3"})
    first, *more = items("openrlhf_prompt", tmp_path)
    assert (first.question, first.gold, len(set(first.images))) == ("<image><image>How many?", "3", 2)
    assert [(item.gold, len(item.images)) for item in more] == ([("4", 1)] if kind == "jsonl" else [])


def test_easyr1_holds_images_in_lists_of_structs_or_paths(tmp_path: Path) -> None:
    row = {"problem": "<image>Find $x$.", "answer": "2\\sqrt{3}"}
    picture(tmp_path / "img", 1)
    write_parquet(
        tmp_path / "train.parquet",
        row | {"images": [struct(tmp_path / "made", 2)]},
        {"problem": "What is 1 + 1?", "answer": "2", "images": []},
        {"problem": f"<image>{CHOICE}", "answer": "B", "images": [struct(tmp_path / "made", 3)]},
    )
    write_lines(tmp_path / "more.jsonl", row | {"images": ["img/1.png"], "id": "9"})
    first, text, chosen, path = items("easyr1", tmp_path)
    assert (first.question, first.gold, len(first.images)) == ("<image>Find $x$.", "2\\sqrt{3}", 1)
    assert (text.question, text.images, text.gold) == ("What is 1 + 1?", (), "2")
    assert is_choice(chosen)
    assert (path.source_id, len(path.images)) == ("9", 1)


def verl_row(prompt: list[dict[str, Any]], gold: str, images: list[Any], **extra: Any) -> dict[str, Any]:
    return {
        "data_source": "hiyouga/geometry3k",
        "prompt": prompt,
        "images": images,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": {"split": "train", "index": 4} | extra,
    }


def test_verl_questions_come_without_its_instructions_where_it_keeps_them(tmp_path: Path) -> None:
    told = "<image>How many? You FIRST think, then put the answer in \\boxed{}."
    image = struct(tmp_path / "made", 1)
    asked = verl_row([SYSTEM, user(told)], "3", [image], question="<image>How many?", answer="3")
    bare = verl_row([user("<image>How many?")], "4", [image], question="", answer="4")
    write_parquet(tmp_path / "train.parquet", asked, bare)
    first, second = items("verl", tmp_path)
    assert (first.question, second.question) == ("<image>How many?", "<image>How many?")
    assert (first.gold, second.gold) == ("3", "4")
    assert (first.split, first.subject, first.source_id) == ("train", "math", "train 4")
    assert (len(first.images), first.meta) == (1, {"data_source": "hiyouga/geometry3k"})


def test_verl_takes_the_ground_truth_wherever_extra_info_is_silent(tmp_path: Path) -> None:
    picture(tmp_path, 1)
    row = {
        "prompt": [user("<image>" + CHOICE)],
        "images": [{"image": "1.png"}],
        "reward_model": {"ground_truth": "B"},
    }
    write_lines(tmp_path / "test.jsonl", row)
    (found,) = items("verl", tmp_path)
    assert is_choice(found)
    assert (found.split, found.subject, found.source_id) == (None, None, "0")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_trl_solutions_stand_in_tags_or_alone(tmp_path: Path, kind: str) -> None:
    picture(tmp_path, 1)
    prompt = [SYSTEM | {"content": [{"type": "text", "text": "Think."}]}, user({"type": "image"}, TEXT)]
    rows = [
        {"prompt": prompt, "image": "1.png", "solution": "<think>One, two.</think><answer> $2$ </answer>"},
        {"prompt": prompt, "image": "1.png", "solution": "7"},
    ]
    if kind == "jsonl":
        write_lines(tmp_path / "a.jsonl", *rows)
    else:
        write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", *rows)
    tagged, alone = items("trl", tmp_path)
    assert (tagged.question, tagged.gold, alone.gold) == ("<image>How many?", "$2$", "7")
    assert len(tagged.images) == 1


def test_trl_rows_may_have_a_problem_and_several_images(tmp_path: Path) -> None:
    images = [struct(tmp_path / "made", 1), struct(tmp_path / "made", 2)]
    write_parquet(
        tmp_path / "a.parquet", {"problem": "Same?", "images": images, "solution": "<answer>yes</answer>"}
    )
    (found,) = items("trl", tmp_path)
    assert (found.question, found.gold, found.answer_type) == ("<image><image>Same?", "yes", AnswerType.WORD)


def test_swift_asks_what_its_user_says(tmp_path: Path) -> None:
    data = base64.b64encode(picture(tmp_path, 1)).decode()
    write_lines(
        tmp_path / "train.jsonl",
        {
            "messages": [SYSTEM, user("<image>How many?")],
            "images": ["1.png"],
            "solution": "<answer>3</answer>",
        },
        {"messages": [user(f"<image>{CHOICE}"), {"role": "assistant", "content": "B"}], "images": ["1.png"]},
        {"query": "<image>How many?", "response": "4", "images": [{"bytes": data, "path": None}]},
        {"messages": [user("<image>How many?")], "images": ["https://example.org/a.png"], "solution": "5"},
    )
    first, chosen, third, fetched = imported("swift", tmp_path)
    assert isinstance(first, Item)
    assert (first.question, first.gold, len(first.images)) == ("<image>How many?", "3", 1)
    assert isinstance(chosen, Item)
    assert is_choice(chosen)
    assert isinstance(third, Item)
    assert (third.gold, third.images) == ("4", first.images)
    assert isinstance(fetched, Reject)
    assert fetched.reason == "image_is_url"


def said(asked: str, answered: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]


def test_llava_is_the_first_question_and_its_answer(tmp_path: Path) -> None:
    picture(tmp_path / "coco", 1)
    picture(tmp_path / "coco", 2)
    rows = [
        {
            "id": "a",
            "image": "coco/1.png",
            "conversations": said("<image>\nHow many?", "3") + said("Why?", "So."),
        },
        {
            "id": "b",
            "image": "coco/1.png",
            "conversations": said(CHOICE + "\n<image>", "It barks.\nAnswer: B"),
        },
        {
            "id": "c",
            "image": ["coco/1.png", "coco/2.png"],
            "conversations": said("<image><image>Same?", "No"),
        },
        {"id": "d", "image": "coco/3.png", "conversations": said("<image>\nHow many?", "3")},
        {"id": "e", "image": "coco/1.png", "conversations": said("<image>\nHow many?", "")},
    ]
    (tmp_path / "chat.json").write_text(json.dumps(rows))
    first, chosen, both, *lost = imported("llava", tmp_path)
    assert isinstance(first, Item)
    assert (first.question, first.gold, first.source_id) == ("<image>\nHow many?", "3", "a")
    assert isinstance(chosen, Item)
    assert (chosen.gold, len(chosen.images), chosen.options[0]) == ("B", 1, "a cat")
    assert isinstance(both, Item)
    assert (both.question, both.gold, len(set(both.images))) == ("<image><image>Same?", "No", 2)
    assert reasons(lost) == ["image_missing", "gold_missing"]


@pytest.mark.parametrize("place", ["train.parquet", "data/train-00000-of-00002.parquet"])
def test_r1v_solutions_stand_in_answer_tags(tmp_path: Path, place: str) -> None:
    row = {"image": struct(tmp_path / "made", 1), "problem": "How many items are there in the image?"}
    write_parquet(
        tmp_path / place,
        row | {"solution": "<answer> 3 </answer>"},
        row | {"solution": "<think>2 and 2</think> <answer>4</answer>"},
        row | {"solution": "5"},
    )
    found = items("r1v", tmp_path)
    assert [(item.gold, item.answer_type) for item in found] == [(gold, AnswerType.INTEGER) for gold in "345"]
    assert {item.question for item in found} == {"<image>How many items are there in the image?"}
    assert len({item.images for item in found}) == 1


TSV = ("index", "image", "hint", "question", "A", "B", "C", "D", "answer", "category", "l2-category", "split")


def write_tsv(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, TSV, delimiter="\t", restval="")
        table.writeheader()
        table.writerows(rows)


def test_vlmevalkit_tables_hold_images_as_base64_and_a_column_for_each_option(tmp_path: Path) -> None:
    one, two = (base64.b64encode(picture(tmp_path / "made", seed)).decode() for seed in (1, 2))
    common = {"category": "counting", "l2-category": "numbers", "split": "dev"}
    write_tsv(
        tmp_path / "Bench_DEV.tsv",
        common
        | {
            "index": 1,
            "image": one,
            "hint": 'Say "it"',
            "question": "Which?",
            "A": "x",
            "B": "y",
            "C": "z",
            "answer": "C",
        },
        common | {"index": 2, "image": one, "question": "How many?", "answer": "['14', 'fourteen']"},
        common
        | {"index": 3, "image": str([one, two]), "question": "<image 1> or <image 2>?", "answer": "No"},
        common | {"index": 4, "image": "1", "question": "How many?", "answer": "3"},
    )
    chosen, counted, both, borrowed = imported("vlmevalkit", tmp_path)
    assert isinstance(chosen, Item)
    assert (chosen.question, chosen.options, chosen.gold) == ('<image>Say "it"\nWhich?', ("x", "y", "z"), "C")
    assert (chosen.source_id, chosen.split, chosen.subject) == ("1", "dev", "counting")
    assert chosen.meta == {"l2-category": "numbers"}
    assert isinstance(counted, Item)
    assert (counted.question, counted.options, counted.gold) == ("<image>How many?", (), "14")
    assert counted.images == chosen.images
    assert isinstance(both, Item)
    assert (both.question, len(set(both.images)), both.gold) == ("<image> or <image>?", 2, "No")
    # The number of another row, whose image it borrows: see the data card.
    assert isinstance(borrowed, Reject)
    assert borrowed.reason == "image_missing"


def test_mmpr_pairs_are_questions_whose_chosen_response_has_the_answer(tmp_path: Path) -> None:
    picture(tmp_path / "images", 1)
    pair = {"question": f"<image>{CHOICE}", "rejected": "A", "image": "images/1.png"}
    write_lines(
        tmp_path / "pairs.jsonl",
        pair | {"chosen": "It has paws.\nFinal answer: B", "id": 3},
        {"question": "What is 1 + 1?", "image": "", "chosen": "<think>.</think><answer>2</answer>"},
        pair | {"chosen": "It is nice."},
    )
    chosen, text, prose = imported("mmpr", tmp_path)
    assert isinstance(chosen, Item) and is_choice(chosen) and chosen.source_id == "3"
    assert isinstance(text, Item) and (text.gold, text.images) == ("2", ())
    assert reasons([prose]) == ["gold_not_found"]
