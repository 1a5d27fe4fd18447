"""Words, phrases and yes or no: which are the same answer, and which only look alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.records import AnswerType, Reference
from ladder.verify.plurals import singular
from ladder.verify.policy import DEFAULT
from ladder.verify.rule import Judgement, UnverifiableGold
from ladder.verify.words import WORD, word_key

SAME = [
    ("Red.", "red"),
    ("THE RED", "red"),
    ("a table", "table"),
    ("an apple", "the apple"),
    ("the cat on a mat", "cat on the mat"),
    ("light-blue", "light_blue"),
    ("light blue", "Light-Blue"),
    ("dogs", "dog"),
    ("two dogs", "2 dogs"),
    ("2 dogs", "two dog"),
    ("twenty-one men", "21 men"),
    ("one hundred and five", "105"),
    ("1,234 dogs", "1234 dogs"),
    ("boxes", "box"),
    ("cities", "city"),
    ("movies", "movie"),
    ("pies", "pie"),
    ("knives", "knife"),
    ("wolves", "wolf"),
    ("gloves", "glove"),
    ("women", "woman"),
    ("firemen", "fireman"),
    ("children", "child"),
    ("people", "person"),
    ("feet", "foot"),
    ("mice", "mouse"),
    ("buses", "bus"),
    ("horses", "horse"),
    ("houses", "house"),
    ("potatoes", "potato"),
    ("shoes", "shoe"),
    ("glasses", "glass"),
    ("watches", "watch"),
    ("headaches", "headache"),
    ("octopuses", "octopus"),
    ("series", "series"),
    ("grey", "gray"),
    ("the colours", "color"),
    ("centre", "center"),
    ("five kilometres", "5 kilometers"),
    ("U.S.", "US"),
    ("St. Paul", "St Paul"),
    ("Paris, France", "Paris France"),
    ("Facebook (app)", "Facebook app"),
    ("\\text{red} and \\text{blue}", "red & blue"),
    ("type $1$", "Type 1"),
    ("'no entry'", "no entry"),
    ("cafe\u0301", "caf\u00e9"),
    ("third", "3rd"),
    ("$\\text{H}_2\\text{O}$", "H2O"),
    ("H\u2082O", "H2O"),
    ("\u7ea2\u8272\u3002", "\u7ea2\u8272"),
]
DIFFERENT = [
    ("blue", "red"),
    ("left", "on the left"),
    ("under the table", "table"),
    ("in the box", "on the box"),
    ("redder", "red"),
    ("reddish", "red"),
    ("red blue", "red"),
    ("red, blue", "red"),
    ("red or blue", "red"),
    ("not red", "red"),
    ("no red", "red"),
    ("red and blue", "blue and red"),
    ("light", "light blue"),
    ("car", "care"),
    ("plan", "plane"),
    ("cub", "cube"),
    ("cas", "cases"),
    ("bus", "bu"),
    ("new", "news"),
    ("len", "lens"),
    ("walked", "walk"),
    ("walking", "walk"),
    ("-5 degrees", "5 degrees"),
    ("3.5 dogs", "35 dogs"),
    ("3,5 dogs", "35 dogs"),
    ("2:3 scale", "23 scale"),
    ("twenty 1", "201"),
    ("vitamin", "vitamin a"),
    ("vitamin B", "vitamin A"),
    ("five dogs", "5"),
    ("cafe", "caf\u00e9"),
    ("schon", "sch\u00f6n"),
    ("yesterday", "yes"),
    ("right", "yes"),
    ("wrong", "no"),
    ("right", "left"),
    ("", "red"),
    ("$$", "red"),
    ("**", "red"),
    ("the", "red"),
    ("the answer matches the reference, so it is correct", "red"),
]
BOOLEANS = [
    ("Yes", "yes", True),
    ("yes.", "True", True),
    ("true", "yes", True),
    ("Y", "Yes", True),
    ("T", "True", True),
    ("F", "True", False),
    ("t", "yes", False),
    ("yeah", "yes", True),
    ("\u662f", "yes", True),
    ("\u5bf9\u3002", "True", True),
    ("\u5426", "No", True),
    ("n", "False", True),
    ("Yes, it is.", "yes", True),
    ("Yes. The ball is red.", "yes", True),
    ("Yes - it is", "Yes", True),
    ("Yes it is", "yes", True),
    ("No, there isn't", "no", True),
    ("No, it is not.", "no", True),
    ("False: they differ", "False", True),
    ("no", "yes", False),
    ("\u4e0d\u662f", "yes", False),
    ("Yes, it is.", "no", False),
    ("yes no", "yes", False),
    ("Yes, no", "yes", False),
    ("Yes and no", "yes", False),
    ("Yes or no", "yes", False),
    ("Yes, but no", "yes", False),
    ("Yes, it is not", "yes", False),
    ("Yes, it isn't", "yes", False),
    ("No, it's true", "no", False),
    ("No. Yes.", "no", False),
    ("Yes. Actually, the ball is blue", "yes", False),
    ("not yes", "no", False),
    ("not false", "yes", False),
    ("no dogs", "no", False),
    ("No problem at all", "no", False),
    ("It may be so", "yes", False),
    ("1", "yes", False),
]


def judged(answer: str, gold: str) -> bool:
    judgement = WORD.judge(answer, WORD.read(Reference(gold, (), AnswerType.WORD), DEFAULT), DEFAULT)
    assert judgement is not None
    return judgement.right


@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_spellings_of_one_phrase_are_equal(answer: str, gold: str) -> None:
    assert judged(answer, gold)
    assert judged(gold, answer)


def test_a_place_may_be_named_with_its_preposition() -> None:
    assert judged("on the left", "left")
    assert judged("in the kitchen", "Kitchen")


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_other_phrases_are_not(answer: str, gold: str) -> None:
    assert not judged(answer, gold)


@pytest.mark.parametrize(("answer", "gold", "right"), BOOLEANS)
def test_yes_is_true_and_no_is_false(answer: str, gold: str, right: bool) -> None:
    assert judged(answer, gold) is right


@pytest.mark.parametrize("gold", ["", " ", "...", "?!"])
def test_a_gold_without_letters_is_unverifiable(gold: str) -> None:
    with pytest.raises(UnverifiableGold):
        WORD.read(Reference(gold, (), AnswerType.WORD), DEFAULT)


_WORDS = [
    "red",
    "blue",
    "dog",
    "cat",
    "table",
    "glass",
    "bus",
    "city",
    "knife",
    "child",
    "fifteen",
    "grey",
    "yes",
    "no",
    "true",
    "gas",
    "news",
]


@given(st.lists(st.sampled_from(_WORDS), min_size=2, max_size=5))
def test_several_words_are_never_one_of_them(words: list[str]) -> None:
    assert not any(judged(" ".join(words), word) for word in words)
    assert not any(judged(" or ".join(words), word) for word in words)


@given(st.text(alphabet=st.characters(categories=("Ll",)), min_size=1, max_size=20))
def test_a_word_is_its_own_plural_once_singular(word: str) -> None:
    assert singular(singular(word)) == singular(singular(singular(word)))


@given(st.text(max_size=200), st.text(max_size=40))
def test_no_text_raises(answer: str, gold: str) -> None:
    assert word_key(word_key(answer)) == word_key(answer)
    try:
        read = WORD.read(Reference(gold, (), AnswerType.WORD), DEFAULT)
    except UnverifiableGold:
        return
    assert isinstance(WORD.judge(answer, read, DEFAULT), Judgement)
