r"""Raw pools as they are found, each read by a TOML alone: what becomes of every field, and what is refused.

An expected item is (id, question, options, gold, answer type, pictures, and what else it has); `_` is a picture's place.
"""

import base64
import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import write_picture
from small_pools import wrong_forms

from ladder.config import load
from ladder.images.album import Album
from ladder.pools.mapping import Mapped
from ladder.pools.source import Pool
from ladder.records import IMAGE_PLACEHOLDER, Item, Reject
from ladder.settings import BuildSettings

QIA = '[pool.columns]\nquestion = "q"\nimage = "i"\nanswer = "a"\n'
QIAO = QIA + 'options = "o"\n'
_PACKED: list[dict[str, Any]] = [
    {"q": "One?", "i": "img/1.png", "a": "4"},
    {"q": "Two?", "i": "img/2.png", "a": "5"},
]
_FURTHER = ("subject", "split", "unit", "tolerance", "meta")
Found = tuple[Any, ...]


def read(root: Path, files: str, body: str = QIA) -> list[Item | Reject]:
    """What a TOML makes of a pool; items name as many images as they have, and their golds are right in all forms."""
    toml = root / "pipeline.toml"
    head = f'name = "wild"\n[pool]\nroot = {json.dumps(str(root))}\nfiles = {files}\n'
    toml.write_text(head + body, encoding="utf-8")
    settings = load(BuildSettings, toml, []).pool
    assert settings is not None
    album = Album(max_pixels=1_048_576, min_side=8)
    found = [one.item if isinstance(one, Mapped) else one for one in Pool(settings, "wild", root).read(album)]
    for item in found:
        if isinstance(item, Item):
            texts = (item.question, *item.options)
            assert sum(text.count(IMAGE_PLACEHOLDER) for text in texts) == len(item.images), item
            assert not wrong_forms(item), item
    return found


def shown(root: Path, found: Sequence[Item | Reject]) -> list[Found | str]:
    """Items with the numbers of their pictures, and rejects' reasons."""
    album = Album(max_pixels=1_048_576, min_side=8)
    numbers = {album.of_bytes(picture(root, n))[0].hash: n for n in range(1, 10)}
    told: list[Found | str] = []
    for one in found:
        if isinstance(one, Reject):
            told.append(one.reason)
            continue
        further = {name: value for name in _FURTHER if (value := getattr(one, name))}
        question = one.question.replace(IMAGE_PLACEHOLDER, "_")
        options = [option.replace(IMAGE_PLACEHOLDER, "_") for option in one.options]
        pictures = [numbers[image] for image in one.images]
        fields = (one.source_id, question, options, one.gold, one.answer_type.value, pictures)
        told.append((*fields, further) if further else fields)
    return told


def picture(root: Path, number: int) -> bytes:
    """The bytes of `img/NUMBER.png` of a pool."""
    path = root / f"img/{number}.png"
    return path.read_bytes() if path.is_file() else write_picture(path, number).read_bytes()


def base64_of(root: Path, number: int) -> str:
    return base64.b64encode(picture(root, number)).decode()


def rows(root: Path, *given: dict[str, Any]) -> str:
    """Rows as JSON, with pictures 1 to 9 beside them; those that name none show that of their number."""
    for number in range(1, 10):
        picture(root, number)
    filled = [{"i": f"img/{n}.png"} | row for n, row in enumerate(given, 1)]
    (root / "rows.json").write_text(json.dumps(filled, ensure_ascii=False), encoding="utf-8")
    return '["rows.json"]'


def test_subjects_with_columns_of_different_names(tmp_path: Path) -> None:
    long = "Answer (final answer highlighted)"
    picture(tmp_path, 1), picture(tmp_path, 2), picture(tmp_path, 3)
    subjects = {
        "physics": [
            {
                "Question": "Which?\n(A) red (B) blue",
                long: r"\answer{B} since A is not.",
                "ImagePath": "img/1",
            }
        ],
        "maths": [
            {"Question": "How much?", "Answer": r"So \answer{\frac{1}{2}}.", "ImagePath": "img/2.png"},
            {"question": "How many?", "Answer": "7", "image": "img/3"},
        ],
    }
    (tmp_path / "d.json").write_text(json.dumps(subjects))
    body = f"""
[pool.layout]
rows = "{{subject}}.[]"
[pool.columns]
question = "Question|question"
answer = "{long}|Answer"
image = "ImagePath|image"
subject = "subject"
[pool.options]
inside = "cut"
[pool.golds]
extract = ["boxed", "whole"]
"""
    assert shown(tmp_path, read(tmp_path, '["d.json"]', body)) == [
        ("0", "_Which?", ["red", "blue"], "B", "option", [1], {"subject": "physics"}),
        ("1", "_How much?", [], r"\frac{1}{2}", "number", [2], {"subject": "maths"}),
        ("2", "_How many?", [], "7", "integer", [3], {"subject": "maths"}),
    ]


def test_an_object_by_id_with_golds_of_many_types(tmp_path: Path) -> None:
    def row(number: int, answer: str, **more: Any) -> dict[str, Any]:
        picture(tmp_path, number)
        empty = {"o": None, "unit": None, "precision": None}
        return {"q": f"Q{number}?", "i": f"img/{number}.png", "a": answer} | empty | more

    pool = {
        "11": row(1, "4"),
        "12": row(2, "3.5", unit="cm", precision=1.0),
        "13": row(3, "45°", o=["30°", "45°"]),
        "14": row(4, "[1, 2, 3]"),
        "15": row(5, "Yes"),
    }
    (tmp_path / "d.json").write_text(json.dumps(pool))
    body = QIAO + 'id = "id"\nunit = "unit"\ndecimals = "precision"\n'
    body += '[pool.golds]\nnames = "value"\nwritten_list = true\n'
    assert shown(tmp_path, read(tmp_path, '["d.json"]', body)) == [
        ("11", "_Q1?", [], "4", "integer", [1]),
        ("12", "_Q2?", [], "3.5", "number", [2], {"unit": "cm", "tolerance": "1 decimals"}),
        ("13", "_Q3?", ["30°", "45°"], "45°", "option", [3]),
        ("14", "_Q4?", [], "1, 2, 3", "list", [4]),
        ("15", "_Q5?", [], "Yes", "word", [5]),
    ]


@pytest.mark.parametrize(
    ("options", "gold", "expected"),
    [
        ("A. x;B. y;C. z", "B", ["x", "y", "z"]),
        ("A. x; B. y; E", "B", ["x", "y; E"]),
        ("A. a; and b;B. c;C. d", "C", ["a; and b", "c", "d"]),
        ("A. x &lt; 3;B. x &gt; 3", "A", ["x < 3", "x > 3"]),
        ("A. 3 cm;B. 4 cm;C. 5 cm;D. 6 cm;E. No correct answer", "E", [*"3456", "No correct answer"]),
        ("red;blue", "blue", ["red", "blue"]),
        ({"B": "blue", "A": "red", "C": None}, "A", ["red", "blue"]),
        (json.dumps({"A": "it's", "B": "blue"}), "A", ["it's", "blue"]),
        ([{"label": "B", "text": "two"}, {"label": "A", "text": "one"}], "B", ["one", "two"]),
        ([{"key": "(A)", "value": "one"}, {"key": "(B)", "value": "two"}], "A", ["one", "two"]),
        ([{"id": 2, "text": "two"}, {"id": 1, "text": "one"}], "two", ["one", "two"]),
        ([{"id": 81, "text": "two"}, {"id": 17, "text": "one"}], "two", ["two", "one"]),
        ([{"B": "two"}, {"A": "one"}], "B", ["one", "two"]),
        ({"label": ["B", "A"], "text": ["two", "one"]}, "B", ["one", "two"]),
        ([1.0, 2.0, 3.5], "2", ["1.0", "2.0", "3.5"]),
        (["A. Smith", "B. Jones", "Nobody"], "B", ["A. Smith", "B. Jones", "Nobody"]),
        (["A.M.", "P.M."], "P.M.", ["A.M.", "P.M."]),
        ("nan", "3", []),
    ],
)
def test_forms_of_options(tmp_path: Path, options: Any, gold: str, expected: list[str]) -> None:
    files = rows(tmp_path, {"q": "Which?", "o": options, "a": gold})
    (item,) = read(tmp_path, files, QIAO + '[pool.options]\nseparator = ";"\n')
    assert isinstance(item, Item)
    assert [one.removesuffix(" cm") for one in item.options] == expected
    assert (item.question, item.gold) == ("<image>Which?", gold)


@pytest.mark.parametrize(
    ("options", "gold", "reason"),
    [
        (["B. two", "A. one", "C. three"], "A", "gold_not_an_option"),
        (["A. one", "C. two", "D. three"], "C", "gold_not_an_option"),
        (["A. one", "B. two", "B. three"], "B", "gold_not_an_option"),
        (["Nobody", "A. Smith"], "(A)", "gold_not_an_option"),
        ([{"label": "B", "text": "two"}, {"label": "C", "text": "one"}], "B", "options_unreadable"),
        ([{"A": "one"}, {"A": "two"}], "A", "options_unreadable"),
        ([{"red": "A"}, {"blue": "B"}], "B", "options_unreadable"),
        (["one", "nan", "two"], "two", "options_unreadable"),
    ],
)
def test_options_whose_letters_are_not_their_places_are_refused(
    tmp_path: Path, options: Any, gold: str, reason: str
) -> None:
    files = rows(tmp_path, {"q": "Which?", "o": options, "a": gold})
    assert shown(tmp_path, read(tmp_path, files, QIAO)) == [reason]


def test_options_that_are_names_of_pictures(tmp_path: Path) -> None:
    files = rows(
        tmp_path,
        {"q": "Which continues <image>?", "o": ["img/2.png", "img/3.png"], "a": "B"},
        {
            "q": "Which?",
            "i": ["img/4.png", "img/5.png", "img/6.png"],
            "o": ["img/6.png", "img/5.png"],
            "a": "A",
        },
        {"q": "Which?", "i": None, "o": ["img/7.png", "a word"], "a": "B"},
    )
    assert shown(tmp_path, read(tmp_path, files, QIAO)) == [
        ("0", "Which continues _?", ["_", "_"], "B", "option", [1, 2, 3]),
        ("1", "_Which?", ["_", "_"], "A", "option", [4, 6, 5]),
        ("2", "Which?", ["img/7.png", "a word"], "B", "option", []),
    ]


def test_pictures_in_the_question(tmp_path: Path) -> None:
    files = rows(
        tmp_path,
        {
            "q": "<p>Is <img src=\"img/1.png\" width=20> in <img alt='' src='img/2.png'/>?</p>",
            "i": None,
            "a": "4",
        },
        {"q": "See <img src=img/2.png>&nbsp;x &lt; 3?", "a": "&minus;5"},
        {"q": "![fig](img/3.png 'title') How many?", "i": "", "a": "3&frac12;"},
        {"q": f'Of <img src="data:image/png;base64,{base64_of(tmp_path, 4)}"> what?', "i": None, "a": "1"},
        {"q": "Picture 1: <img>img/5.png</img> What?", "i": None, "a": "2"},
        {"q": '<img src="http://example.com/x.png"> What?', "i": None, "a": "2"},
    )
    assert shown(tmp_path, read(tmp_path, files)) == [
        ("0", "<p>Is _ in _?</p>", [], "4", "integer", [1, 2]),
        ("1", "See _ x < 3?", [], "\u22125", "integer", [2]),
        ("2", "_ How many?", [], "3\u00bd", "number", [3]),
        ("3", "Of _ what?", [], "1", "integer", [4]),
        ("4", "Picture 1: _ What?", [], "2", "integer", [5]),
        "image_is_url",
    ]


@pytest.mark.parametrize(
    "placeholder",
    [
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|image_pad|>",
        "<ImageHere>",
        "<img>",
        "<IMG_1>",
        "<image 1>",
    ],
)
def test_placeholders_of_other_tools(tmp_path: Path, placeholder: str) -> None:
    files = rows(tmp_path, {"q": f"What is in {placeholder}?", "a": "3"})
    assert shown(tmp_path, read(tmp_path, files)) == [("0", "What is in _?", [], "3", "integer", [1])]


def test_forms_of_images(tmp_path: Path) -> None:
    inline = "data:image/png;base64," + base64_of(tmp_path, 2)
    anthropic = {"type": "base64", "media_type": "image/png", "data": base64_of(tmp_path, 3)}
    forms: list[Any] = [
        "img\\1.png",
        ".\\img\\1.png",
        "['img/1.png', 'img/2.png']",
        "img/1.png,img/2.png",
        "img/3.png; img/1",
        "img/3.png; img/1.png",
        {"url": inline},
        [{"image_url": {"url": inline}}, {"type": "image", "source": anthropic}],
        {"base64": base64_of(tmp_path, 2)},
        {"bytes": None, "path": "img/2.png"},
        "C:\\img\\1.png",
        "..\\img\\1.png",
    ]
    files = rows(tmp_path, *({"q": "What?", "i": form, "a": str(n)} for n, form in enumerate(forms)))
    found = [one if isinstance(one, str) else one[5] for one in shown(tmp_path, read(tmp_path, files))]
    assert found == [
        *([1], [1], [1, 2], [1, 2], "image_missing", [3, 1], [2], [2, 3], [2], [2]),
        *("image_missing", "image_outside_root"),
    ]


def test_a_part_that_an_image_cell_cannot_have_is_no_question_without_pictures(tmp_path: Path) -> None:
    cells: list[Any] = [{"url": "img/1.png"}, [{"url": "img/2.png"}], "img/3.png", None, {}, []]
    files = rows(tmp_path, *({"q": f"What {n}?", "i": cell, "a": "1"} for n, cell in enumerate(cells)))
    found = shown(tmp_path, read(tmp_path, files, QIA.replace('"i"', '"i.url"')))
    assert [one if isinstance(one, str) else one[5] for one in found] == [
        [1],
        "image_unreadable",
        "image_unreadable",
        *([], [], []),
    ]


def test_chat_turns_whose_parts_are_lists(tmp_path: Path) -> None:
    def turns(*user: Any) -> list[dict[str, Any]]:
        answer = [{"type": "text", "text": "12"}]
        return [{"role": "user", "content": [*user]}, {"role": "assistant", "content": answer}]

    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64_of(tmp_path, 2)}}
    files = rows(
        tmp_path,
        {"m": turns({"type": "image", "image": "img/1.png"}, {"type": "text", "text": "Sum?"})},
        {"m": turns({"type": "text", "text": "Of "}, url, {"type": "text", "text": "?"})},
    )
    body = """[pool.columns]
question = "m.role=user.content"
image = "m.role=user.content"
answer = "m.role=assistant.content"
"""
    assert shown(tmp_path, read(tmp_path, files, body)) == [
        ("0", "_Sum?", [], "12", "integer", [1]),
        ("1", "Of_?", [], "12", "integer", [2]),
    ]


def test_golds_as_floats_booleans_and_missing_ones(tmp_path: Path) -> None:
    answers: list[Any] = [1.0, 0, True, 10.0, "nan", float("nan"), 2.5]
    files = rows(tmp_path, *({"q": f"Q{n}?", "a": answer} for n, answer in enumerate(answers)))
    body = QIA + '[pool.golds]\nvalues = { "0" = "no", "1" = "yes", "true" = "yes" }\n'
    found = shown(tmp_path, read(tmp_path, files, body))
    assert [one if isinstance(one, str) else one[3:5] for one in found] == [
        *[("yes", "word"), ("no", "word"), ("yes", "word"), ("10.0", "number")],
        *["gold_missing", "gold_missing", ("2.5", "number")],
    ]


def test_a_pattern_may_stand_alone(tmp_path: Path) -> None:
    files = rows(tmp_path, {"q": "How many?", "a": "so: 7!"}, {"q": "Which?", "a": "none"})
    found = read(tmp_path, files, QIA + "[pool.golds]\nextract = 'so: (\\d+)'\n")
    assert shown(tmp_path, found) == [("0", "_How many?", [], "7", "integer", [1]), "gold_not_found"]


def test_an_object_of_columns_holds_rows(tmp_path: Path) -> None:
    picture(tmp_path, 1), picture(tmp_path, 2)
    columns = {"q": ["One?", "Two?"], "i": ["img/1.png", "img/2.png"], "a": [1, "red"]}
    (tmp_path / "d.json").write_text(json.dumps(columns, indent=1))
    assert shown(tmp_path, read(tmp_path, '["d.json"]')) == [
        ("0", "_One?", [], "1", "integer", [1]),
        ("1", "_Two?", [], "red", "word", [2]),
    ]
    row = {"q": "Both?", "i": ["img/1.png", "img/2.png"], "a": ["red", "blue"]}
    (tmp_path / "d.json").write_text(json.dumps(row))
    assert shown(tmp_path, read(tmp_path, '["d.json"]')) == [
        ("0", "__Both?", [], "red, blue", "list", [1, 2])
    ]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("jsonl", lambda file: [print(json.dumps(row), file=file) for row in _PACKED]),
        ("json", lambda file: json.dump(_PACKED, file)),
        ("csv", lambda file: csv.writer(file).writerows([_PACKED[0].keys(), *(r.values() for r in _PACKED)])),
    ],
)
def test_packed_files(tmp_path: Path, name: str, write: Callable[[Any], Any]) -> None:
    picture(tmp_path, 1), picture(tmp_path, 2)
    with gzip.open(tmp_path / f"d.{name}.gz", "wt") as file:
        write(file)
    body = f'[pool.layout]\nformat = "{name}"\n{QIA}'
    assert shown(tmp_path, read(tmp_path, f'["d.{name}.gz"]', body)) == [
        ("0", "_One?", [], "4", "integer", [1]),
        ("1", "_Two?", [], "5", "integer", [2]),
    ]


@pytest.mark.parametrize(
    "data",
    [b"no gzip at all", gzip.compress(json.dumps(_PACKED[0]).encode())[:-12], gzip.compress(b" " * 2**27)],
    ids=[
        "no gzip",
        "cut",
        "bomb",
    ],  # what gzip makes holds the time: each worker would name the test otherwise
)
def test_a_packed_file_that_does_not_inflate_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "d.jsonl.gz").write_bytes(data)
    body = f'[pool.layout]\nformat = "jsonl"\n{QIA}'
    assert shown(tmp_path, read(tmp_path, '["d.jsonl.gz"]', body))[-1:] == ["file_unreadable"]


def test_tables_with_blanks_in_their_header_and_open_quotes(tmp_path: Path) -> None:
    picture(tmp_path, 1)
    (tmp_path / "d.csv").write_text("q, i, a\nHow many?, img/1.png, 3\n")
    assert shown(tmp_path, read(tmp_path, '["d.csv"]')) == [("0", "_How many?", [], "3", "integer", [1])]
    open_quote = 'q\ti\ta\n"Open?\timg/1.png\t3\nNext?\timg/1.png\t4\n'
    (tmp_path / "d.tsv").write_text(open_quote)
    (reject,) = read(tmp_path, '["d.tsv"]')
    assert isinstance(reject, Reject)
    assert reject.reason == "row_unreadable" and "pool.layout.quote" in reject.detail
    (tmp_path / "d.tsv").write_text(open_quote + '"Closed? \timg/1.png\t5\n')  # it closes the first one's
    assert shown(tmp_path, read(tmp_path, '["d.tsv"]')) == ["row_unreadable"]
    (tmp_path / "d.tsv").write_text(open_quote)
    found = read(tmp_path, '["d.tsv"]', "[pool.layout]\nquote = ''\n" + QIA)
    assert [one[1] for one in shown(tmp_path, found)] == ['_"Open?', "_Next?"]
    (tmp_path / "d.tsv").write_text('q\ti\ta\n"Two\nlines, quoted?"\timg/1.png\t3\n')
    assert [one[1] for one in shown(tmp_path, read(tmp_path, '["d.tsv"]'))] == ["_Two\nlines, quoted?"]


def test_questions_in_chinese(tmp_path: Path) -> None:
    files = rows(
        tmp_path,
        {"q": "角A是多少度?", "a": "60°", "o": None},
        {"q": "有几个苹果?", "a": "C", "o": "A.三个;B.四个;C.五个"},
        {"q": "颜色是?", "a": "红色", "o": ["A\u3001红色", "B\u3001蓝色"]},
    )
    assert shown(tmp_path, read(tmp_path, files, QIAO)) == [
        ("0", "_角A是多少度?", [], "60°", "number", [1]),
        ("1", "_有几个苹果?", ["三个", "四个", "五个"], "C", "option", [2]),
        ("2", "_颜色是?", ["红色", "蓝色"], "红色", "option", [3]),
    ]


def test_a_template_of_two_columns_and_an_index_column(tmp_path: Path) -> None:
    picture(tmp_path, 1), picture(tmp_path, 2)
    (tmp_path / "d.csv").write_text(
        "no,part,q,A,B,C,label\n1,img,First?,cat,dog,,1\n2,img,Second?,5,6,7,3.0\n2,img,Third?,5,6,7,0\n"
    )
    body = """[pool.columns]
id = "{part}-{no}"
question = "q"
image = "{part}/{no}"
options = ["A", "B", "C"]
answer = "label"
split = "_stem"
[pool.golds]
names = "index1"
"""
    assert shown(tmp_path, read(tmp_path, '["d.csv"]', body)) == [
        ("img-1", "_First?", ["cat", "dog"], "A", "option", [1], {"split": "d"}),
        ("img-2", "_Second?", ["5", "6", "7"], "C", "option", [2], {"split": "d"}),
        "gold_not_an_option",
    ]
