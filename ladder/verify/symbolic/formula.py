r"""Read a formula, in the LaTeX spelling of `ladder.verify.notation`, into a small tree. Linear in its text, and bounded.

What is read is what answers consist of: arithmetic, roots, powers, the usual functions, symbols with indices and accents,
degrees, percent. A text is read in one way or not at all: what is left out (sums, integrals, derivatives, limits,
applied unknown functions, matrices) raises Unread, and so do words. What a tree is worth is left to `evaluate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from ladder.verify.notation import FUNCTIONS
from ladder.verify.symbolic.tokens import Token, Unread, tokens_of
from ladder.verify.symbolic.tree import Node, negative, number_node

MAX_DEPTH = 40  # brackets within brackets; more is no way to write an answer


@dataclass(frozen=True, slots=True)
class Reading:
    r"""Where notation is ambiguous: the sign of `\pm`, what a percent sign stands for, the base of a bare `log`."""

    sign: int = 1
    percent: Fraction = Fraction(1, 100)
    log: str = "log"  # or "ln"


_GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
    ]
)
_ACCENTS = {
    "vec": "vec", "overrightarrow": "vec", "overline": "bar", "bar": "bar", "hat": "hat", "widehat": "hat",
    "tilde": "tilde", "widetilde": "tilde", "dot": "dot", "ddot": "ddot", "overarc": "arc", "overset": "",
}  # fmt: skip
_FIGURES = frozenset(["angle", "triangle", "odot", "square", "Box", "parallelogram"])
_COMMAND_FUNCTIONS = frozenset((*FUNCTIONS, "csch", "sech", "arctg", "tg", "ctg")) - {"sqrt", "cbrt"}
_SAME = {"tg": "tan", "ctg": "cot", "arctg": "arctan"}
_INVERSE = {
    "sin": "arcsin",
    "cos": "arccos",
    "tan": "arctan",
    "cot": "arccot",
    "sec": "arcsec",
    "csc": "arccsc",
}
_MANY = frozenset(("max", "min", "gcd", "lcm"))
_APPLIED = frozenset("fghFGHP")
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_TIMES = frozenset(("*", "\\cdot", "\\times"))
_OVER = frozenset(("/", "\\div"))
_SIGNS = frozenset(("+", "-", "\\pm", "\\mp"))
#: \frac{dy}{dx} is no quotient of products.
_DERIVATIVE = re.compile(
    r"\\frac ?\{ ?d[^{}]{0,20}\} ?\{ ?d ?[a-z]|\\partial|(?<![a-zA-Z])d[a-z] ?/ ?d[a-z](?![a-zA-Z])"
)
_ONE_ARGUMENT_END = frozenset(
    ("", "+", "-", ")", "]", "}", ",", "|", "\\pm", "\\mp", ":", "\\rfloor", "\\rceil", "\\}")
)

_HALF = number_node(Fraction(1, 2))
_DEGREE = Node("/", (Node("c", (), "pi"), number_node(Fraction(180))))


def read_formula(text: str, reading: Reading = Reading()) -> Node:
    """The tree of a formula; raises Unread for anything else."""
    if _DERIVATIVE.search(text):
        raise Unread
    parser = _Parser(tokens_of(text), reading)
    node = parser.sum()
    if parser.next:
        raise Unread
    return node


class _Parser:
    """Recursive descent over tokens, one of look-ahead."""

    def __init__(self, tokens: list[Token], reading: Reading) -> None:
        self.tokens = tokens
        self.reading = reading
        self.at = 0
        self.depth = 0
        self.bars = 0  # absolute values that are open
        self.next = tokens[0].text

    def step(self) -> Token:
        if self.at >= len(self.tokens):
            raise Unread
        token = self.tokens[self.at]
        self.at += 1
        self.next = self.tokens[self.at].text if self.at < len(self.tokens) else ""
        return token

    def expect(self, text: str) -> None:
        if self.step().text != text:
            raise Unread

    def kind(self) -> str:
        return self.tokens[self.at].kind if self.next else ""

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unread
        terms = [self.signed()]
        while self.next in _SIGNS:
            terms.append(self.signed())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def signed(self) -> Node:
        sign = 1
        for _ in range(4):
            if self.next not in _SIGNS:
                break
            token = self.step().text
            sign *= {"+": 1, "-": -1, "\\pm": self.reading.sign, "\\mp": -self.reading.sign}[token]
        term = self.term()
        return term if sign > 0 else negative(term)

    def term(self) -> Node:
        node = self.product()
        while self.next in _TIMES or self.next in _OVER:
            over = self.step().text in _OVER
            sign = -1 if self.next == "-" else 1
            if self.next in ("-", "+"):
                self.step()
            # 1/2x is x/2, and a/2x is a/(2x): only between two numbers the bar is that of a fraction.
            tight = over and node.op == "n" and self.kind() == "number"
            right = self.power() if tight else self.product()
            node = Node("/" if over else "*", (node, right if sign > 0 else negative(right)))
            if tight and self.starts():
                node = Node("*", (node, self.product()))
        return node

    def product(self) -> Node:
        literal = self.kind() == "number"
        factors = [self.power()]
        while self.starts():
            if literal and len(factors) == 1 and self.is_mixed():
                factors = [self.mixed(factors[0])]
                continue
            closed = self.tokens[self.at - 1].text == ")" or factors[-1].op == "^"
            if self.kind() == "number" and not closed:
                raise Unread  # "2 3" and "x2" are no products; (x+1)2 is one
            factors.append(self.power())
        return factors[0] if len(factors) == 1 else Node("*", tuple(factors))

    def is_mixed(self) -> bool:
        r"""Whether a proper fraction of two integers follows an integer: 2\frac12 or "2 1/2"."""
        whole = self.tokens[self.at - 1]
        if not whole.text.isdigit() or (self.at > 1 and self.tokens[self.at - 2].text in ("^", "_")):
            return False
        texts = [token.text for token in self.tokens[self.at : self.at + 7]]
        if texts[:1] == ["\\frac"]:
            digits = [text for text in texts[1:] if text not in "{}"]
            if texts[1:2] != ["{"] and len(digits) and len(digits[0]) == 2:
                digits = list(digits[0])
            return (
                len(digits) >= 2
                and digits[0].isdigit()
                and digits[1].isdigit()
                and int(digits[0]) < int(digits[1])
            )
        return (
            len(texts) > 2 and texts[1] == "/" and texts[0].isdigit() and texts[2].isdigit()
            and self.tokens[self.at].blank and int(texts[0]) < int(texts[2])
        )  # fmt: skip

    def mixed(self, whole: Node) -> Node:
        if self.next == "\\frac":
            return Node("+", (whole, self.power()))
        top = self.atom()
        self.expect("/")
        return Node("+", (whole, Node("/", (top, self.atom()))))

    def starts(self) -> bool:
        """Whether a factor begins here."""
        kind, text = self.kind(), self.next
        if kind in ("number", "letters"):
            return True
        if kind == "command":
            return text in _CLOSING or text[1:] not in _NOT_FACTORS
        return text in ("(", "[", "{") or (text == "|" and not self.bars)

    def power(self) -> Node:
        return self.postfix(self.atom())

    def postfix(self, node: Node) -> Node:
        while self.next in ("^", "!", "\\%"):
            token = self.step().text
            if token == "!":
                node = Node("f", (node,), "factorial")
            elif token == "\\%":
                node = Node("*", (node, number_node(self.reading.percent)))
            elif self.next == "\\circ":
                self.step()
                node = Node("*", (node, _DEGREE))
            else:
                node = Node("^", (node, self.exponent()))
        return node

    def exponent(self) -> Node:
        """One sign, a group, or as plain text has it a number of several digits."""
        if self.next in ("-", "+"):
            minus = self.step().text == "-"
            node = self.exponent()
            return negative(node) if minus else node
        node = self.atom()
        while self.next == "!":
            self.step()
            node = Node("f", (node,), "factorial")
        return Node("^", (node, self.exponent())) if self.next == "^" and self.step() else node

    def atom(self) -> Node:
        token = self.step()
        if token.kind == "number":
            return _number(token.text, self)
        if token.kind == "letters":
            return self.letters(token.text)
        if token.kind == "command" and token.text not in _CLOSING:
            return self.command(token.text[1:])
        if token.text == "|":
            return self.absolute()
        if token.text in _CLOSING:
            return self.group(token.text)
        raise Unread

    def group(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.expect(_CLOSING[opening])
        self.bars = bars
        if opening in ("\\lfloor", "\\lceil"):
            return Node("f", (node,), "floor" if opening == "\\lfloor" else "ceil")
        if opening == "\\{":
            raise Unread
        return node

    def absolute(self) -> Node:
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        self.expect("|")
        return Node("f", (node,), "abs")

    def letters(self, name: str) -> Node:
        if name in FUNCTIONS:
            return self.function(name)
        if name in ("infty", "infinity"):
            return Node("c", (), "oo")
        if name == "pi":
            return Node("c", (), "pi")
        if name == "e" and self.next not in ("_", "'"):
            return Node("c", (), "e")
        if name == "i" and self.next not in ("_", "'"):
            return Node("c", (), "i")
        if name in _APPLIED and self.next == "(" and self.letter_follows():
            raise Unread
        return self.symbol(name)

    def letter_follows(self) -> bool:
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        return following is not None and (following.kind in ("letters", "number") or following.text == "-")

    def symbol(self, name: str) -> Node:
        """A symbol with its index and primes: they belong to its name."""
        while self.next in ("_", "'"):
            if self.step().text == "'":
                name += "'"
            else:
                name += "_" + self.raw()
        return Node("s", (), name)

    def raw(self) -> str:
        """The text of one sign or group, without blanks."""
        token = self.step()
        if token.text != "{":
            return token.text
        depth, parts = 1, []
        while depth:
            token = self.step()
            depth += (token.text == "{") - (token.text == "}")
            parts.append(token.text)
        return "".join(parts[:-1])

    def command(self, name: str) -> Node:
        if name in _GREEK:
            return self.symbol("\\" + name)
        if name in ("pi", "infty"):
            return Node("c", (), "pi" if name == "pi" else "oo")
        if name == "frac":
            return Node("/", (self.argument(), self.argument()))
        if name in ("sqrt", "cbrt"):
            return self.root(name)
        if name == "binom":
            return Node("f", (self.argument(), self.argument()), "binom")
        if name in ("imath", "jmath"):
            return Node("c", (), "i")
        if name in _COMMAND_FUNCTIONS:
            return self.function(_SAME.get(name, name))
        if name in _ACCENTS and self.next in ("{", "\\"):
            return self.symbol(f"{_ACCENTS[name]}({self.raw()})")
        if name in _ACCENTS and self.kind() == "letters":
            return self.symbol(f"{_ACCENTS[name]}({self.step().text})")
        if name in _FIGURES:
            return self.figure(name)
        raise Unread

    def figure(self, name: str) -> Node:
        r"""\angle ABC is a symbol of its own; \angle\alpha is \alpha."""
        if self.next[1:] in _GREEK:
            return self.symbol(self.step().text)
        if self.kind() not in ("letters", "number"):
            raise Unread
        parts = [self.step().text]
        while self.kind() == "letters" and not self.tokens[self.at].blank:
            parts.append(self.step().text)
        return self.symbol(f"{name}({''.join(parts)})")

    def argument(self) -> Node:
        r"""Of \frac and the like: a group, or one sign (\frac12)."""
        if self.next in ("-", "+"):
            raise Unread
        if self.kind() == "number":
            return self.digit()
        return self.atom()

    def digit(self) -> Node:
        token = self.tokens[self.at]
        if len(token.text) == 1:
            return _number(self.step().text, self)
        if not token.text[0].isdigit():
            raise Unread
        self.tokens[self.at] = Token(token.text[1:], "number", False)
        self.next = token.text[1:]
        return number_node(Fraction(int(token.text[0])))

    def root(self, name: str) -> Node:
        degree: Node | None = number_node(Fraction(3)) if name == "cbrt" else None
        if self.next == "[":
            self.step()
            degree = self.sum()
            self.expect("]")
        inner = self.argument()
        if degree is None:
            return Node("^", (inner, _HALF))
        return Node("f", (inner, degree), "root")

    def function(self, name: str) -> Node:
        if name in ("sqrt", "cbrt"):
            return self.root(name)
        power: Node | None = None
        if self.next == "^":
            self.step()
            power = self.exponent()
        base: Node | None = None
        if self.next == "_" and name == "log":
            self.step()
            base = self.argument()
        if power is not None and power == number_node(Fraction(-1)) and name in _INVERSE:
            name, power = _INVERSE[name], None
        if name == "log" and base is None:
            name = self.reading.log
        arguments = self.arguments(name)
        node = Node("f", arguments if base is None else (*arguments, base), name if base is None else "logb")
        return node if power is None else Node("^", (node, power))

    def arguments(self, name: str) -> tuple[Node, ...]:
        if self.next in ("(", "{", "[") or (name in _MANY and self.next == "\\{"):
            opening = self.step().text
            found = [self.sum()]
            while self.next == "," and name in _MANY:
                self.step()
                found.append(self.sum())
            self.expect(_CLOSING[opening])
            if opening == "{" and name not in _MANY:
                found = [self.postfix(found[0])]
            return tuple(found)
        return (self.bare(),)

    def bare(self) -> Node:
        r"""What a function without brackets is applied to: `\sin 2\pi x`, `\cos \frac x2`, `sin pi/6`."""
        if self.next in _ONE_ARGUMENT_END and self.next != "|":
            raise Unread
        factors = [self.power()]
        while self.starts() and not self.is_function() and self.next not in ("(", "["):
            if self.kind() == "number":
                raise Unread
            factors.append(self.power())
        node = factors[0] if len(factors) == 1 else Node("*", tuple(factors))
        if self.next == "/" and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].kind == "number":
            self.step()
            node = Node("/", (node, self.atom()))
        return node

    def is_function(self) -> bool:
        return self.next.removeprefix("\\") in _COMMAND_FUNCTIONS


#: Commands that no factor begins with.
_NOT_FACTORS = frozenset(["cdot", "times", "div", "pm", "mp", "rfloor", "rceil", "circ", "}", "%"])


def _number(text: str, parser: _Parser) -> Node:
    """A decimal, exactly; `0.1\\overline{6}` repeats."""
    value = Fraction(text.replace(",", ""))
    if parser.next in ("\\overline", "\\dot") and "." in text:
        digits = ""
        while parser.next in ("\\overline", "\\dot"):
            parser.step()
            digits += parser.raw()
        if not digits.isdigit():
            raise Unread
        decimals = len(text.partition(".")[2])
        value += Fraction(int(digits), (10 ** len(digits) - 1) * 10**decimals)
    return number_node(value)
