r"""Answers that are made to hang, fill or crash what reads them, and ordinary ones to put among them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ladder.records import AnswerType, Item

HOSTILE = 200
_GOLDS = (
    (r"\sqrt{2}", AnswerType.EXPRESSION),
    ("x^2+1", AnswerType.EXPRESSION),
    ("5", AnswerType.INTEGER),
    ("0.25", AnswerType.NUMBER),
    ("3, 4", AnswerType.LIST),
    (r"\frac{\pi}{4}", AnswerType.EXPRESSION),
)


class Trial(NamedTuple):
    """A response to an item; `right` is None where any verdict but `correct` will do."""

    kind: str
    item: Item
    response: str
    right: bool | None = None


def item_of(gold: str, kind: AnswerType, options: tuple[str, ...] = ()) -> Item:
    """An item with that gold and nothing else."""
    return Item(f"made:{gold[:40]}", "", (), options, gold, kind, "made", gold[:40])


def _tower(n: int) -> str:
    base = 9 if n % 2 else r"10"
    return "^{".join([str(base)] * (n + 3)) + "}" * (n + 2)


def _variable_tower(n: int) -> str:
    return "e^{" + "^{".join(["x"] * (n + 3)) + "}" * (n + 2) + "}"


def _factorial(n: int) -> str:
    return (f"({10 ** (n + 3)})!", f"(10^{{{n + 5}}})!", "(" * n + "9!" + ")!" * n, f"{99999 * (n + 1)}!!")[
        n % 4
    ]


def _series(n: int) -> str:
    name = ("sum", "prod")[n % 2]
    return rf"\{name}_{{k=1}}^{{10^{{{n + 6}}}}} \frac{{k^{{{n}}}+1}}{{k!+\sin(k)}}"


def _roots(n: int) -> str:
    depth = 15 * (n + 1)
    return r"\sqrt{1+" * depth + "x" + "}" * depth


def _parentheses(n: int) -> str:
    depth = 60 * (n + 1)
    return "(" * depth + "x+1" + ")" * (depth if n % 3 else depth - 1)


def _fractions(n: int) -> str:
    depth = 12 * (n + 1)
    return r"\frac{1}{1+" * depth + "x" + "}" * depth


def _digits(n: int) -> str:
    return ("9" * 10 ** (n % 5 + 2), "1." + "3" * 1_000_000, "-" * 100_000 + "5", "7e" + "9" * (n + 3))[n % 4]


def _unbalanced(n: int) -> str:
    return (r"\frac{" * (40 * n + 40), "}" * 5000 + r"\boxed{" * 5000, r"\left(" * 200 + "{[" * 90)[n % 3]


def _controls(n: int) -> str:
    return "".join(chr((i * 7 + n) % 32) for i in range(600)) + r"\sqrt{2}" + "\x00\u202e\u2066\ud800"


def _binomials(n: int) -> str:
    return rf"\binom{{10^{{{n + 7}}}}}{{5^{{{n + 9}}}}}+\binom{{\binom{{9999}}{{{n + 500}}}}}{{77}}"


def _matrix(n: int) -> str:
    size = 7 + n
    rows = r"\\".join("&".join(f"x_{i}{j}" for j in range(size)) for i in range(size))
    return rf"\det\begin{{pmatrix}}{rows}\end{{pmatrix}}^{{{n + 20}}}"[:990]


def _divisors(n: int) -> str:
    big = "+".join(rf"{k}^{{9^{{{n % 6 + 5}}}}}" for k in (2, 3, 5))
    return rf"\gcd({big}, {big}+1)" if n % 2 else rf"({big}) \bmod 97"


def _polynomial(n: int) -> str:
    if n % 2:
        return "+".join(f"{k}x^{{{k}}}" for k in range(1, 60 + n))
    return "".join(f"(x+{k})" for k in range(1, 90)) + rf"^{{{n + 50}}}"


def _expansion(n: int) -> str:
    return rf"(a+b+c+d+f+g)^{{{30 + 10 * n}}}-(a+b)^{{{99 * n + 7}}}"


def _trigonometry(n: int) -> str:
    return r"\sin(" * (12 + n) + "x" + ")" * (12 + n) + r"+\tan^{99}(x)\cos^{101}(x)-\int_0^1 x^x dx"


def _limits(n: int) -> str:
    return rf"\lim_{{x \to 0}} \frac{{\sin(x^{{{n + 9}}})-x!}}{{\Gamma(x)}}+\int_{{0}}^{{\infty}} \frac{{x^{{{n}}}}}{{e^x-1}} dx"


def _integral(n: int) -> str:
    inside = (
        r"x^{x^{x}} \sin(x^{%d})",
        r"\sqrt{1+x^{%d}+\sin(x)}",
        r"e^{-x^{%d}} \log(1+x^x)",
        r"\frac{\tan(x^{%d})}{1+x^x}",
    )
    return rf"\int_{{0}}^{{{n + 1}}} {inside[n % 4] % (n + 3)} \, dx"


def _long_sum(n: int) -> str:
    term = (r"\frac{1}{k^{3}+%d}", r"\sin(k^{%d})", r"\sqrt{k+%d}", r"\frac{(-1)^k}{\log(k+%d)}")[n % 4]
    return rf"\sum_{{k=1}}^{{{10 ** (n % 5 + 5)}}} {term % (n + 2)}"


def _long_product(n: int) -> str:
    return rf"\prod_{{k=1}}^{{{10 ** (n % 4 + 4)}}} \left(1+\frac{{1}}{{k^{{{n + 2}}}}}\right)"


def _function_of_a_tower(n: int) -> str:
    name = ("f", r"\lim_{x \to 0} ", r"\sum_{k=1}^{3} ", r"\Re")[n % 4]
    return rf"{name}({_tower(n)})"


def _determinant(n: int) -> str:
    size = min(3 + n, 9)
    rows = r"\\".join(
        "&".join("abcdghpqr"[(i * 5 + j * 3 + n) % 9] for j in range(size)) for i in range(size)
    )
    return rf"\det\begin{{pmatrix}}{rows}\end{{pmatrix}}"


def _nested_sum(n: int) -> str:
    return r"\sum_{i=1}^{99}" + r"\sum_{j=1}^{99}" * (n % 4 + 1) + rf" \frac{{i!}}{{j^{{{n + 2}}}+i}}"


def _ambiguous(n: int) -> str:
    """What slows a regular expression that tries every way to divide a text."""
    return ("1," * 400, "1 " * 400 + "x", "- " * 450 + "5", "the answer is " * 70, "a, and " * 140)[n % 5]


MAKERS: tuple[Callable[[int], str], ...] = (
    _tower,
    _variable_tower,
    _factorial,
    _series,
    _roots,
    _parentheses,
    _fractions,
    _digits,
    _unbalanced,
    _controls,
    _binomials,
    _matrix,
    _divisors,
    _polynomial,
    _expansion,
    _trigonometry,
    _limits,
    _integral,
    _long_sum,
    _long_product,
    _function_of_a_tower,
    _determinant,
    _nested_sum,
    _ambiguous,
)


def hostile(number: int = HOSTILE) -> Iterator[Trial]:
    """As many hostile responses to harmless golds of several types; every eighth is a hostile gold instead."""
    for i in range(number):
        make, size = MAKERS[i % len(MAKERS)], i // len(MAKERS)
        gold, kind = _GOLDS[i % len(_GOLDS)]
        name = make.__name__.removeprefix("_")
        text = make(size)
        if i % 8 == 7:
            yield Trial(
                f"{name} (gold)", item_of(text, AnswerType.EXPRESSION), r"<answer>$\sqrt{3}$</answer>"
            )
        else:
            yield Trial(name, item_of(gold, kind), f"<answer>{text}</answer>")


def ordinary(number: int, rng: random.Random) -> list[Trial]:
    """Everyday cases with known verdicts, a third of which need symbolic work."""
    makers = (
        _ordinary_integer,
        _ordinary_option,
        _ordinary_root,
        _ordinary_word,
        _ordinary_sum,
        _ordinary_fraction,
    )
    return [makers[i % len(makers)](rng, right=rng.random() < 0.5) for i in range(number)]


def _ordinary_integer(rng: random.Random, right: bool) -> Trial:
    n = rng.randrange(2000, 9000)
    return Trial("integer", item_of(str(n), AnswerType.INTEGER), f"The answer is {n + (not right):,}.", right)


def _ordinary_option(rng: random.Random, right: bool) -> Trial:
    n = rng.randrange(4)
    item = item_of("ABCD"[n], AnswerType.OPTION, ("red", "blue", "green", "white"))
    return Trial("option", item, f"\\boxed{{{'ABCD'[n if right else n - 1]}}}", right)


def _ordinary_root(rng: random.Random, right: bool) -> Trial:
    a, b = rng.randrange(2, 40), rng.choice([2, 3, 5, 7])
    answer = rf"<answer>$\sqrt{{{a * a * b + (not right)}}}$</answer>"
    return Trial("root", item_of(rf"{a}\sqrt{{{b}}}", AnswerType.EXPRESSION), answer, right)


def _ordinary_word(rng: random.Random, right: bool) -> Trial:
    a, b = rng.sample(["red", "blue", "triangle", "table", "increasing"], 2)
    return Trial("word", item_of(a, AnswerType.WORD), f"<answer>The {a if right else b}.</answer>", right)


def _ordinary_sum(rng: random.Random, right: bool) -> Trial:
    a, b = rng.randrange(2, 30), rng.randrange(2, 30)
    answer = rf"\boxed{{{b + (not right)} + {a}x}}"
    return Trial("sum", item_of(f"{a}x+{b}", AnswerType.EXPRESSION), answer, right)


def _ordinary_fraction(rng: random.Random, right: bool) -> Trial:
    a, b = rng.randrange(2, 30), rng.choice([7, 11, 13])
    answer = rf"<answer>\frac{{{3 * a + (not right)}}}{{{3 * b}}}</answer>"
    return Trial("fraction", item_of(f"{a}/{b}", AnswerType.NUMBER), answer, right)
