"""The rules of the answer types that are one value, by type. Lists of them are in `ladder.verify.lists`."""

from __future__ import annotations

from ladder.records import AnswerType
from ladder.verify.expressions import EXPRESSION
from ladder.verify.numeric import INTEGER, NUMBER
from ladder.verify.options import OPTION
from ladder.verify.rule import Rule
from ladder.verify.times import TIME
from ladder.verify.words import WORD

SCALARS: dict[AnswerType, Rule] = {
    AnswerType.OPTION: OPTION,
    AnswerType.INTEGER: INTEGER,
    AnswerType.NUMBER: NUMBER,
    AnswerType.TIME: TIME,
    AnswerType.WORD: WORD,
    AnswerType.EXPRESSION: EXPRESSION,
}
