r"""What sentences say: the answer after a final-answer phrase, and what a short sentence states.

English and Chinese, and the commonest phrases of Spanish, French and German. It understands nothing: a sentence with
a negation, an alternative or a second statement is left as it is, for the comparison to refuse.
"""

from __future__ import annotations

import re

_PHRASE = re.compile(
    r"""
    \b(?:
        (?:answers?|(?:correct|right|best|answer)\ (?:answer\ )?(?:options?|choices?)|final\ result)\b
        (?:\s{0,3}\([^()\n]{1,40}\)|,[^.,:\n]{1,60},)?
        (?:\s{1,3}(?:to|for|of|in|here)\b[^.:\n]{0,100}?)?
        [ \t*_]{0,3}
        (?:\b(?:is|are|was|equals)\b|\b(?:should|must|would|will|has\ to|turns\ out\ to)\ be\b|=|:|\uff1a)
        (?:[ \t]{1,3}(?:therefore|thus|then|hence|indeed|simply|just|clearly|definitely|option\ (?=option))\b,?)?
        |la\ respuesta\ (?:correcta\ |final\ )?es\b|respuesta(?:\ final)?\ ?:
        |la\ r\u00e9ponse\ (?:correcte\ |finale\ )?est\b|r\u00e9ponse(?:\ finale)?\ ?:
        |die\ (?:richtige\ |korrekte\ )?antwort\ (?:ist|lautet)\b|antwort\ ?:
    )
    |(?:\u7b54\u6848|\u6b63\u786e\u9009\u9879)(?:\u5e94\u8be5|\u5e94\u5f53|\u5e94|\u5c31)?(?:\u662f|\u4e3a|\u9009(?:\u62e9)?|[:\uff1a])
    |(?:\u6545|\u5e94|\u6240\u4ee5|\u56e0\u6b64|\u6545\u6b64\u9898)?\u9009(?:\u62e9|\u9879)?(?=\ ?[:\uff1a]?\ ?[(\uff08]?[A-Z\uff21-\uff3a](?![A-Za-z]))
    |^[ \t]{0,3}answer[ \t]{1,3}[-\u2013\u2014](?=[ \t])
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
#: "Final Answer" as a heading: nothing else on its line.
_HEADING = re.compile(
    r"^[ \t]{0,3}(?:\#{1,6}|>)?[ \t*_]{0,6}(?:[0-9]{1,2}\.[ \t]{0,3})?(?:the[ ])?(?:final[ ])?"
    r"(?:answer|\u7b54\u6848)[ \t*_]{0,6}$",
    re.IGNORECASE | re.MULTILINE,
)
_HASHES = re.compile(r"^[ \t]{0,3}####[ \t]{0,4}(?=[^\s#])", re.MULTILINE)
_LEAD = re.compile(r"[\s:\uff1a*_#>}]{0,20}")
_BOLD = re.compile(r"(?<![\w)\]}])\*\*|\*\*(?![\w(\\])")
_BULLET = re.compile(r"(?:[*\u2022\u25cf]|-(?=[ ]{1,3}[^\d\s$\\.]))[ ]{1,3}")
_MAX_BULLETS = 64
_MAX_REST = 320
_MAX_DISPLAY = 2_000
#: A label ("B. blue"), an initial or an abbreviation ends no sentence.
_NO_END = re.compile(r"(?:\b[A-Za-z]|\b(?:St|Dr|Mr|Mrs|Ms|Mt|No|Jr|Sr|Ft|vs|ca|approx|U\.S|a\.m|p\.m))\Z")
_SENTENCE_END = re.compile(
    r"(?:\.|(?<![\d)}!])!)[*_\"')\]]{0,3}(?=\s{1,9}[A-Z\"*(\\])|\u3002|[;\uff1b]\s{0,3}(?=therefore|thus|hence)"
)
_REASON = re.compile(
    r"[,;]?\s(?:because|since|therefore)\b|,\s{1,3}as\b|\sas\ (?:it|they|we|this|these|those|there|shown|seen)\b"
    r"|[,\uff0c;\uff1b]?\s?(?:\u56e0\u4e3a|\u7531\u4e8e)|,\s{1,3}(?:which|where)\b(?![^\n]{0,200}(?:option|choice|answer|\b[A-Z]\b))",
    re.IGNORECASE,
)
#: Whoever says this after an answer takes it back.
_RETRACTION = re.compile(
    r"\b(?:wait|scratch that|correction|on second thoughts?|sorry|oops|i made an? (?:mistake|error)|actually,? (?:it|the|no))\b",
    re.IGNORECASE,
)
#: A letter or number alone, which after an answer is another answer.
_VALUE = re.compile(r"\(?[A-Z]\)?\.?|[-+$]?[0-9][0-9.,/]{0,20}%?")
_MAX_NARROWED = 240
_HEDGED = re.compile(
    r"\b(?:not|or|either|neither|nor|maybe|perhaps|possibly|probably|might|may|could|except|cannot|but|unless|without"
    r"|excluding|wrong|incorrect|impossible|if|instead|rather|otherwise|never|false that)\b|n't\b|n\u2019t\b"
    r"|[?\uff1f\u4e0d\u6ca1\u975e\u6216]",
    re.IGNORECASE,
)
_REVERSED = re.compile(
    r"(?:(?:so|thus|therefore|hence|only)\b,?\s)?\s{0,3}(\S[^\n]{0,120}?)\s{1,3}(?:is|are)\s{1,3}"
    r"(?:(?:the\s)?(?:correct|right|final|best)?\s?(?:answers?|options?|choices?|solutions?|one|roots?)|correct|right)[.!]?",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<![\\\w])(?:is|are|was|were|be|equals|equal to|becomes|belongs to|says|reads|shows|costs|weighs|measures|has an? [a-z]{1,15} of)(?![\w=])(?:\s{1,3}equal\s{1,3}to\b)?|\u662f|\u7b49\u4e8e|(?<=[\u4e00-\u9fff])\u4e3a"
)
_INTRODUCTION = re.compile(
    r"(?:(?:so|thus|therefore|hence|then|finally|clearly|consequently|ultimately|in conclusion|i think|i believe|\u6240\u4ee5|\u56e0\u6b64|\u6545|\u7b54)"
    r"[\s,:\uff0c\uff1a]{1,3}|(?:we (?:get|have|find|obtain)|this gives|giving|which gives|it follows)(?: that)?[\s,:]{1,3}){1,4}",
    re.IGNORECASE,
)
_MODIFIER = re.compile(
    r"(?:therefore|thus|then|hence|exactly|simply|just|equal to|given by|that|also|actually)\b[\s,:]{0,3}|:\s{0,3}",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"(?<!\\)\$(?:\\.|[^$\\]){1,200}\$|\\\((?:[^\\]|\\[^)]){1,200}\\\)")
#: What a label states is no answer by itself: "B is 5", "(B) $5$".
_LABEL = re.compile(r"(?:the )?(?:option|choice|answer)?\s?\(?[A-Z]\)?", re.IGNORECASE)
_LABELLED = re.compile(r"(?<!\w)\(?[A-Za-z]\)?\s?[.:)]|(?<![\w'])[B-Z](?![\w'])|\b(?:[Oo]ption|[Cc]hoice)\b")
#: Words after which a formula is a reason and no result.
_REASONS = re.compile(
    r"\b(?:from|by|since|using|because|when|where|let|suppose|given|assume|than|of|for|each|per|after|before)\b",
    re.IGNORECASE,
)
_NUMERAL = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|both|half|twice|dozen)\b", re.IGNORECASE
)
_WORDED = re.compile(r"[A-Za-z]{2,}|[+*x\u00d7/-]\s?\$\d")
_OPERATION = re.compile(r"\d[^=]{0,40}[+*x\u00d7/\u00f7-][^=]{0,40}\d")
_MAX_TAIL = 40
_COUNTED = re.compile(r"\s?([$]?\d[\d,.]{0,20})(?:\s[A-Za-z]{3,20}){1,3}\.?")
#: One number, and the word after it unless that goes on with the sentence.
_NUMBER = re.compile(
    r"(?<![\w.,/:$\u20ac\u00a3^-])([$\u20ac\u00a3]?\d{1,12}(?:,\d{3}){0,4}(?:\.\d{1,12})?%?)(?![\w/:^-]|[.,]\d)"
    r"(?:\s(?!(?:more|less|fewer|than|to|in|on|of|for|and|at|from|with|by|as|when|while|so|that|this|his|her|their|its|after"
    r"|before|during|per|each|left|out|an?|the)\b)[A-Za-z]{2,20}\b)?"
)
_OTHER_NUMBER = re.compile(
    r"\d|\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand"
    r"|million|billion|half|twice|double|dozen|both|some|all|every|any)\b",
    re.IGNORECASE,
)
#: What a sentence says that its number is had, seen, paid or counted, right before the number; not "the root of 5".
_COUNTING = re.compile(
    r"(?:\bthere (?:are|is|were|was)|\b(?:has|have|had|needs?|spent|spends?|paid|pays?|costs?|earn(?:s|ed)|saved?|saves|sold|sells?|bought"
    r"|buys?|shows?|lists?|contains?|counts?|counted|sees?|saw|gets?|got|makes?|made|uses?|used|holds?|includes?|scored|reads?"
    r"|requires?|weighs?|ends at|starts at))(?:,)?(?: (?:exactly|only|just|a total of|in total|altogether))?\s\Z",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s{0,3}(?:per|more|less|fewer|times|too|percent|squared|cubed|other|short|off)\b", re.IGNORECASE
)
_ORDERS = re.compile(
    r"\b(?:score|verdict|grader|ignore|instructions?|mark|suppose|assume|given)\b", re.IGNORECASE
)
_SENTENCE_WORDS = re.compile(
    r"(?:(?:[A-Za-z]{2,}(?:'[a-z]{1,2})?|[aAI])[,.]?(?:\s|\Z)|\s|\.|-(?=[a-z])){0,60}"
)
_ARITHMETIC = re.compile(
    r"[\d\s.,+*/^(){}=\u00d7\u00f7\u00b7\u2212-]|\\(?:times|cdot|div|d?frac|sqrt|left|right|pi)(?![A-Za-z])|\\[,;!% ]"
)


def after_phrase(text: str) -> str | None:
    """What follows the last final-answer phrase that is followed by anything; None if there is none."""
    text = _BOLD.sub("", text)
    starts = [m.end() for pattern in (_PHRASE, _HEADING) for m in pattern.finditer(text)]
    last_line = text.rstrip().rfind("\n") + 1
    if hashes := _HASHES.match(text, last_line):
        starts.append(hashes.end())
    for start in sorted(starts, reverse=True):
        lead = _LEAD.match(text, start)
        rest = text[lead.end() if lead else start :]
        if rest.strip():
            return _answer_in(rest)
    return None


def _answer_in(rest: str) -> str:
    for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("```", "```")):
        end = rest.find(closing, len(opening), _MAX_DISPLAY) if rest.startswith(opening) else -1
        if end >= 0 and "\n" in rest[:end]:
            return " ".join(rest[len(opening) : end].split())
    listed = _bullets(rest)
    if listed:
        return listed
    line = rest[:_MAX_REST].split("\n", 1)[0].strip()
    answer = _first_sentence(line)
    below = [text.strip() for text in rest[:_MAX_REST].split("\n")[1:] if text.strip()]
    if below and all(map(_VALUE.fullmatch, below)) and set(below) != {answer}:
        return "\n".join([answer, *below])  # more answers
    if _RETRACTION.search(rest[len(answer) : _MAX_DISPLAY]):
        return " ".join(rest[:_MAX_DISPLAY].split())
    return answer


def _bullets(rest: str) -> str | None:
    """The items of a bulleted list, as one answer with several parts."""
    items = []
    for line in rest[:_MAX_DISPLAY].splitlines()[: _MAX_BULLETS + 1]:
        bullet = _BULLET.match(line.strip())
        if bullet is None:
            break
        items.append(line.strip()[bullet.end() :].strip())
    return "; ".join(items) if items else None


def _first_sentence(line: str) -> str:
    """The line up to the end of its first sentence, or to the reason that it gives."""
    line = _REASON.split(line, maxsplit=1)[0]
    for end in _SENTENCE_END.finditer(line):
        if end[0][0] == "." and _NO_END.search(line[max(0, end.start() - 8) : end.start()]):
            continue
        return line.strip() if _is_parallel(line, line[end.end() :].strip()) else line[: end.start()].strip()
    return line.strip()


def _is_parallel(line: str, following: str) -> bool:
    """Whether what follows the first sentence is a second answer: a bare value, or a sentence that begins alike."""
    words = line.split()[:2]
    return bool(_VALUE.fullmatch(following)) or (len(words) == 2 and following.split()[:2] == words)


def narrow(answer: str) -> str:
    """What a sentence states: "the area is 5 cm" -> "5 cm"; any other text unchanged.

    Only a short sentence with one verb, or with a single formula at its end, and without a negation or an alternative.
    """
    text = " ".join(answer.split())
    if len(text) > _MAX_NARROWED:
        return answer
    sentence = _REASON.split(text, maxsplit=1)[0]
    stated = None if _HEDGED.search(sentence) else _stated(sentence.strip())
    return answer if stated is None or stated == text else stated


def last_sentence(line: str) -> str:
    """What stands after the last end of a sentence before the line's own end."""
    line = line[-_MAX_DISPLAY:]
    ends = [
        end
        for end in _SENTENCE_END.finditer(line)
        if not _NO_END.search(line[max(0, end.start() - 8) : end.start()])
    ]
    return line[ends[-1].end() :].strip() if ends else line


def _stated(sentence: str) -> str | None:
    if reversed_ := _REVERSED.fullmatch(sentence):
        head = reversed_[1]
        return None if _COPULA.search(head) else head
    introduction = _INTRODUCTION.match(sentence)
    body = sentence[introduction.end() :] if introduction else sentence
    outside = _FORMULA.sub(lambda m: "$" * len(m[0]), body)  # no verb inside of a formula
    verbs = list(_COPULA.finditer(outside))
    if len(verbs) > 1 or (verbs and not verbs[0].start()):
        return None
    if verbs and _LABEL.fullmatch(body[: verbs[0].start()].strip()):
        return None
    if verbs:
        return _only_number(body) or _result(_modified(body[verbs[0].end() :]))
    formulas = list(_FORMULA.finditer(body))
    if len(formulas) == 1 and _leads_to(body[: formulas[0].start()]):
        return _result(body[formulas[0].start() :])
    return _calculated(body) or _only_number(body) or (body if introduction and body else None)


def _calculated(body: str) -> str | None:
    """The end of a calculation in words: "5 boxes x 5 tools = 25 tools" -> "25 tools"; one in numbers keeps them,
    to be checked."""
    head, sign, tail = body.partition("=")
    if not sign or "=" in tail or len(tail) > _MAX_TAIL or not _OPERATION.search(head):
        return None
    if _WORDED.search(head):
        return tail.strip()
    counted = _COUNTED.fullmatch(tail)
    return f"{head}= {counted[1]}" if counted else None


def _only_number(body: str) -> str | None:
    """The number of a sentence that counts, with the word after it: "there are 5 cars on it" -> "5 cars"."""
    found = _NUMBER.search(body)
    if found is None:
        return None
    before, after = body[: found.start()], body[found.end() :]
    if not _COUNTING.search(before) or _GOES_ON.match(after) or _ORDERS.search(body):
        return None
    if _OTHER_NUMBER.search(f"{before} {after}"):
        return None
    words = _SENTENCE_WORDS.fullmatch(before) and _SENTENCE_WORDS.fullmatch(after)
    return found[0].strip() if words else None


def _leads_to(words: str) -> bool:
    """Whether words in front of a formula can introduce a result."""
    return (
        bool(words.strip())
        and not _NUMERAL.search(words)
        and not _REASONS.search(words)
        and not _LABELLED.search(words)
    )


def _modified(text: str) -> str | None:
    text = text.strip()
    while modifier := _MODIFIER.match(text):
        text = text[modifier.end() :]
    return text or None


def _result(text: str | None) -> str | None:
    """The end of a calculation ("2 + 3 = 5" -> "5"); an equation in unknowns stays whole."""
    if text is None or "=" not in text:
        return text
    head, _, tail = text.rpartition("=")
    chained = head.count("=") > 0 and not re.search(r"[,;]|\band\b", head)
    return tail.strip(" $") if chained or not _ARITHMETIC.sub("", head.strip(" $")) else text
