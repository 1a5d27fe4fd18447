"""`ladder verify` for one case and for many: what it takes, what it prints, and that bad input names its line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import HANGING, Run, ladder_command, told

from ladder.errors import BadInput
from ladder.records import AnswerType, Item
from ladder.verify.cases import case, in_order, judged, lines_of, parse_options
from ladder.verify.pool import VerifierPool

pytestmark = pytest.mark.usefixtures("hanging")


def outcomes(out: str) -> list[str]:
    return [json.loads(line)["verdict"] for line in out.splitlines()]


def write(path: Path, *cases: Any) -> str:
    path.write_text(
        "".join(f"{c if isinstance(c, str) else json.dumps(c)}\n" for c in cases), encoding="utf-8"
    )
    return str(path)


# --- one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["--gold", "5", "--answer", "5.0"], "correct"),
        (["--gold", "5", "--answer", "The answer is 6."], "wrong"),
        (["--gold", "5", "--answer", "<answer>7</answer>", "--tolerance", "±2"], "correct"),
        (["--gold", "5", "--answer", "7", "--tolerance", "5%"], "wrong"),
        (["--gold", "B", "--answer", "(b)", "--options", "7|9"], "correct"),
        (["--gold", "B", "--answer", "9", "--options", '["7", "9"]'], "correct"),
        (["--gold", "B", "--answer", "A", "--option", "7", "--option", "9"], "wrong"),
        (["--gold", "\\sqrt{12}", "--answer", "2\\sqrt3"], "correct"),
        (["--gold", "12", "--answer", "12", "--type", "int"], "correct"),
        (["--gold", "\\frac{", "--answer", "12", "--type", "math"], "unverifiable"),
        (["--gold", "5", "--answer", ""], "no_answer"),
        (["--gold", HANGING, "--answer", "3", "--deadline", "0.5"], "timeout"),
        (["--gold", "5", "--answer", "so \\boxed{5}", "--set", "verify.format=strict"], "no_answer"),
    ],
)
def test_one_answer_is_judged_and_the_verdict_is_no_exit_code(
    run: Run, arguments: list[str], verdict: str
) -> None:
    code, out, err = run("verify", *arguments)
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.startswith(f"{verdict}  (extracted: ")
    code, out, err = run("verify", *arguments, "--json")
    found = json.loads(out)
    assert (code, list(found), found["verdict"]) == (0, ["verdict", "extracted", "reason"], verdict)


def test_what_was_extracted_and_why_is_on_the_line_and_cannot_move_the_cursor(run: Run) -> None:
    assert run("verify", "--gold", "5", "--answer", "5.0")[1] == "correct  (extracted: 5.0; line/value)\n"
    assert "\x1b" not in run("verify", "--gold", "5", "--answer", "<answer>\x1b[2J6</answer>")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --gold and --answer"),
        (["--gold", "5"], "give --gold and --answer"),
        (["--answer", "5"], "give --gold and --answer"),
        (["cases.jsonl", "--gold", "5", "--answer", "5"], "has golds and answers of its own"),
        (["cases.jsonl", "--unit", "cm"], "has golds and answers of its own"),
        (["--gold", "5", "--answer", "5", "--option", "5", "--options", "5|6"], "--options for all"),
        (["none.jsonl"], "none.jsonl: No such file"),
        (["."], "is not a ladder"),
        (["--gold", "5", "--answer", "5", "--type", "intger"], "did you mean"),
        (["--gold", "5", "--answer", "5", "--tolerance", "some"], "is no tolerance"),
        (["--gold", "5", "--answer", "5", "--options", "[1"], "options"),
        (["--gold", "5", "--answer", "5", "--deadline", "0"], "verify.deadline"),
        (["--gold", "5", "--answer", "5", "--set", "verify.formt=strict"], "did you mean 'verify.format'"),
        (["--gold", "5", "--answer", "5", "--set", "sampling.k=3"], "unknown key 'sampling'"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    assert message in told(run("verify", *arguments))


# --- what a case may be -----------------------------------------------------------------------------------------


def item_of(**raw: Any) -> Item:
    return case({"response": "x"} | raw)[1]


@pytest.mark.parametrize(
    ("raw", "gold", "kind"),
    [
        ({"gold": 5}, "5", AnswerType.INTEGER),
        ({"gold": 2.50}, "2.5", AnswerType.NUMBER),
        ({"gold": 1e-7}, "0.0000001", AnswerType.NUMBER),
        ({"gold": True}, "true", AnswerType.WORD),
        ({"gold": [3, 4.5]}, "3; 4.5", AnswerType.LIST),
        ({"gold": ["(1,2)", "(3,4)"], "answer_type": "ordered-list"}, "(1,2); (3,4)", AnswerType.SEQUENCE),
        ({"gold": [3, 4], "answer_type": "integer"}, "3; 4", AnswerType.LIST),
        ({"gold": ["x=1", "x=2"], "answer_type": "math"}, "x=1, x=2", AnswerType.EXPRESSION),
        ({"gold": ["7"]}, "7", AnswerType.INTEGER),
        ({"gold": ["A", "C"], "options": ["1", "2", "3"]}, "A, C", AnswerType.OPTION),
        ({"gold": "x", "answer_type": None, "options": None, "tolerance": "", "unit": ""}, "x", AnswerType.WORD),
        ({"gold": "5", "answer_type": "Multiple Choice", "options": ["5"]}, "5", AnswerType.OPTION),
    ],
)  # fmt: skip
def test_golds_are_texts_numbers_truth_values_and_lists(
    raw: dict[str, Any], gold: str, kind: AnswerType
) -> None:
    item = item_of(**raw)
    assert (item.gold, item.answer_type) == (gold, kind)
    assert (item.tolerance, item.unit) == (None, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["a", 2, True], ("a", "2", "true")),
        ({"B": "second", "A": "first", "C": None, "D": ""}, ("first", "second")),
        ({"(2)": "second", "(1)": "first"}, ("first", "second")),
        ({"0": "first", "1": "second"}, ("first", "second")),
        ("red|green", ("red", "green")),
        ('["red|green", "blue"]', ("red|green", "blue")),
        (None, ()),
        ("", ()),
    ],
)
def test_options_are_lists_or_lettered(options: Any, expected: tuple[str, ...]) -> None:
    assert parse_options(options) == expected


def test_a_tolerance_is_a_number_or_says_what_it_is() -> None:
    assert item_of(gold=5, tolerance=0.05).tolerance == "0.05"
    assert item_of(gold=5, tolerance="2 decimals").tolerance == "2 decimals"
    assert item_of(gold=5, unit=" cm ").unit == "cm"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"gold": "5"}', "no 'response'"),
        ('{"response": "5"}', "no 'gold'"),
        ('{"gold": null, "response": "5"}', "'gold'"),
        ('{"gold": {"a": 1}, "response": "5"}', "'gold'"),
        ('{"gold": [[1]], "response": "5"}', "'gold'"),
        ('{"gold": NaN, "response": "5"}', "'gold'"),
        ('{"gold": "5", "response": ["5"]}', "'response'"),
        ('{"gold": "5", "response": "5", "answer_type": "intger"}', "did you mean"),
        ('{"gold": "5", "response": "5", "tolerance": -1}', "is no tolerance"),
        ('{"gold": "5", "response": "5", "tolerance": true}', "is no tolerance"),
        ('{"gold": "5", "response": "5", "unit": 3}', "'unit'"),
        ('{"gold": "5", "response": "5", "options": 3}', "'options'"),
        ('{"gold": "5", "response": "5", "options": {"A": "x", "D": "y"}}', "'options'"),
        (json.dumps({"gold": "5", "response": "5", "options": ["x"] * 27}), "27 options"),
        ('{"gold": "5", ', "line 2"),
        ('["5", "5"]', "no JSON object"),
        ("[" * 100_000, "line 2"),
        ('{"gold": %s, "response": "5"}' % ("9" * 5000), "line 2"),
    ],
)
def test_a_line_that_is_no_case_is_told_after_the_verdicts_on_those_before(
    run: Run, tmp_path: Path, line: str, message: str
) -> None:
    good = {"gold": "5", "response": "5"}
    name = write(tmp_path / "cases.jsonl", good, line, good)
    code, out, err = run("verify", name, "--json")
    assert (code, outcomes(out)) == (2, ["correct"])
    (error,) = err.splitlines()
    assert error.startswith(f"ladder: {name}, line 2: ")
    assert message in error


def test_undecodable_bytes_are_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes(b'{"gold": "\xff", "response": ""}\n')
    assert "line 1" in told(run("verify", tmp_path / "cases.jsonl"))


# --- many -------------------------------------------------------------------------------------------------------


def test_each_line_gets_a_verdict_in_order_whichever_is_ready_first(run: Run, tmp_path: Path) -> None:
    cases: list[Any] = [
        {"gold": HANGING, "response": "3", "label": "other keys are ignored"},
        {"gold": 5, "response": "5"},
        {"gold": "\\sqrt{12}", "response": "2\\sqrt3"},
        "",
        {"gold": 5, "response": None},
        {"gold": 5, "response": 6},
        {"gold": "\\frac{", "response": "1", "answer_type": "formula"},
    ]
    code, out, err = run("verify", write(tmp_path / "c.jsonl", *cases), "--json", "--deadline", "1")
    assert (code, err) == (0, "")
    assert outcomes(out) == ["timeout", "correct", "correct", "no_answer", "wrong", "unverifiable"]
    assert all(list(json.loads(line)) == ["verdict", "extracted", "reason"] for line in out.splitlines())


def test_without_json_a_file_is_counted(run: Run, tmp_path: Path) -> None:
    cases = [{"gold": 5, "response": answer} for answer in ("5.0", "5.0", "6", "")]
    code, out, err = run("verify", write(tmp_path / "c.jsonl", *cases))
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["4", "cases"], ["correct", "2"], ["line/value", "2"], ["wrong", "1"], ["line/value", "1"], ["no_answer", "1"],
        ["empty", "1"],
    ]  # fmt: skip
    assert run("verify", write(tmp_path / "none.jsonl"), "--json") == (0, "", "")


def test_a_policy_holds_for_all_lines(run: Run, tmp_path: Path) -> None:
    name = write(tmp_path / "c.jsonl", {"gold": "28%", "response": "28"})
    assert outcomes(run("verify", name, "--json")[1]) == ["wrong"]
    assert outcomes(run("verify", name, "--json", "--set", "verify.percent=either")[1]) == ["correct"]


def test_a_line_on_stdin_is_answered_before_the_next_one_is_written() -> None:
    command = ladder_command("verify", "-", "--json", "--deadline", "60")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for gold, answer, verdict in [
            ("5", "5", "correct"),
            ("\\sqrt{12}", "2\\sqrt3", "correct"),
            ("5", "6", "wrong"),
        ]:
            process.stdin.write(json.dumps({"gold": gold, "response": answer}) + "\n")
            process.stdin.flush()
            assert outcomes(process.stdout.readline()) == [verdict]
        process.stdin.write('{"gold": 5, "response": "5"}')  # without an end of line
        process.stdin.close()
        assert outcomes(process.stdout.read()) == ["correct"]
        assert process.wait(60) == 0


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    name = write(tmp_path / "c.jsonl", *[{"gold": 5, "response": "5"}] * 20_000)
    command = ladder_command("verify", name, "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert outcomes(process.stdout.readline()) == ["correct"]
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == "ladder: nobody reads the output any more\n"


def test_cases_are_taken_ahead_of_their_verdicts_but_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladder.verify.cases._AHEAD", 8)
    taken = []

    def cases() -> Any:
        for i in range(60):
            taken.append(i)
            yield case({"gold": f"\\sqrt{{{i}}}", "response": f"<answer>\\sqrt{{{i}}}+0</answer>"})

    with VerifierPool(1, deadline=60) as pool:
        verdicts = in_order(pool, cases())
        next(verdicts)
        assert 1 <= len(taken) < 60
        assert len(list(verdicts)) == 59
        assert pool.counts["sent"] == 60


def test_an_error_in_reading_comes_after_the_verdicts_before_it() -> None:
    seen = []
    with VerifierPool(1, deadline=60) as pool, pytest.raises(BadInput, match="here, line 2"):
        for verdict in judged(
            [b'{"gold": "\\\\sqrt{12}", "response": "2\\\\sqrt3"}', b"{", b"["], "here", pool
        ):
            seen.append(str(verdict.outcome))
    assert seen == ["correct"]


def test_lines_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\r\x0bb\n\xe2\x80\xa8c\n\nd")
    with (tmp_path / "x").open("rb") as file:
        assert [line for line in lines_of(file.fileno()) if line is not None] == [
            b"a\r\x0bb", b"\xe2\x80\xa8c", b"", b"d",
        ]  # fmt: skip


def test_a_plain_case_needs_nothing_heavy() -> None:
    script = (
        "import sys\nfrom ladder.cli import main\n"
        "sys.argv = ['ladder', 'verify', '--gold', '5', '--answer', '5']\n"
        "main()\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "pyarrow", "duckdb", "transformers", "sympy"}
