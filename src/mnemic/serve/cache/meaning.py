"""What two questions must share for one answer to serve both.

Similarity of vectors cannot tell a question from its reversal, its denial or its neighbour with another number:
they lie nearer to it than most paraphrases do. So two questions mean the same here only when all of this is
equal:

    asks        what kind of answer is wanted (a person, a place, a date, yes or no, a way to do it, ...)
    content     the words that carry meaning, by their stems, everyday synonyms as one (`SYNONYMS`)
    order       those words in their order, but for what a preposition leads in ("in Python" may come first)
    directed    which word a preposition of direction governs ("to euros", "than Ben", "without copying")
    numbers     in their order, "three" being 3
    denials     how often something is denied
    voice       tense and person ("where did I live" is not "where do I live" nor "where do you live")
    times       the stretches of time named, as dates: "yesterday" is another day tomorrow

What a question is wrapped in ("could you tell me", "what is the best way to") is taken off before. The rule
errs towards "not the same": then a question is merely answered again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from mnemic.index.words import terms
from mnemic.read.kin import root
from mnemic.read.phrases import Word, words
from mnemic.read.question import analyse
from mnemic.read.time import expressions

# Words of one line may stand for one another in a question without changing its answer. Kin that are only alike
# (city and country, buy and get) are not here: a line is added when no pair of it can make a difference.
SYNONYMS = """ film movie; photo picture photograph; car automobile; doctor physician; town city; job
employment; kid child; buy purchase; begin start; finish end; repair fix mend; delete remove; choose pick
select; reply answer; big large; biggest largest; little small; littlest smallest; quick fast rapid; ill sick;
hard difficult; easy simple; glad happy; tall high height; bigger larger; smaller littler; highest tallest; long
length; deep depth; heavy weigh weight; old age; far distance; cost price expensive; wide width; bike bicycle;
phone telephone; tv television; fridge refrigerator; flat apartment; holiday vacation; autumn fall; folder
directory; dict dictionary; func function; string str; integer int; js javascript; iterate loop; invert reverse;
duplicate repeat; item element entry; exception error; km kilometre kilometer; m metre meter; kg kilogram; euro
eur; dollar usd; mum mom mother; dad father; found establish; author writer; stock share; join concatenate; joke
gag; present gift; live reside; rain rainy; quote quotation
"""

# What a question is wrapped in, and what it comes down to. Applied in this order, anywhere case is ignored.
_WRAPPING: tuple[tuple[str, str], ...] = (
    (r"\bwhat['’]?s\b", "what is"),
    (r"\b(who|where|when|how)['’]s\b", r"\1 is"),
    (r"^(?:(?:hey|hi|hello|ok|okay|so|well|please|quick question|sorry|and|also)\b[\s,:.!-]*)+", ""),
    (
        r"[\s,]*\b(?:please|thanks|thank you|by the way|again|right now|at the moment|at present|currently|"
        r"these days|nowadays|exactly|actually|really|just|quickly|still)\b",
        "",
    ),
    (r"^(?:can|could|would|will) you (?:kindly )?", ""),
    (
        r"^(?:do you (?:know|remember|happen to know)|i (?:want|need|would like|['’]d like) to "
        r"(?:know|find out|understand)|i(?: was|['’]m| am)? wonder(?:ing)?|any idea|remind me|let me know|"
        r"i forgot|i can['’]t remember)\b[\s,:]*",
        "",
    ),
    (r"^(?:tell|show|give|teach) me\b[\s,]*(?:about )?", ""),
    (r"^help me (?:to )?", ""),
    (r"^(?:if|whether)\s+(?=\w+ (?:is|are|was|were|has|have|can|should)\b)", ""),
    (
        r"(?:\b(?:what is|is there) )?\b(?:the|a|any) (?:(?:best|easy|easiest|simple|simplest|right|proper|"
        r"good|quick|quickest|usual|fast|fastest) )?(?:way|method|approach) (?:to|of|for)\b",
        "how to",
    ),
    (r"\bhow (?:do|can|could|would|should|does) (?:i|you|we|one|somebody|someone)(?: best)?\b", "how to"),
    (r"\bhow (?:i|you|we|one|to best) (?:can|could|would|should)\b", "how to"),
    (r"^i (?:want|need|have|would like|am trying|['’]m trying) to\b", "how to"),
    (r"\b(where|what|who|which \w+|when) is it that\b", r"\1"),
    (r"\busing\b", "with"),
    (r"\blike in\b", "in"),
    (r"^what (?:is|are) (?:the |a |an )?(?=\w)", ""),
    (r"[\s,]*\bhow(?: to)?\b\s*(?=\?*$)", ""),
    (r"\bhow to\b", ""),
)  # fmt: skip
_COMPILED = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in _WRAPPING]

_DIRECTED = frozenset(
    "to from into onto than before after by over under without against for until till since except through "
    "like unlike above below within beyond".split()
)
_LIGHT = frozenset(
    map(root, terms("also then now very too just ever usually generally again even there away back"))
)
_DENYING = frozenset("not no never none nothing nobody neither nor without cannot".split())
_PERSONS = {
    **dict.fromkeys("i me my mine myself".split(), "I"),
    **dict.fromkeys("you your yours yourself".split(), "you"),
    **dict.fromkeys("we us our ours ourselves".split(), "we"),
    **dict.fromkeys("he him his himself".split(), "he"),
    **dict.fromkeys("she her hers herself".split(), "she"),
    **dict.fromkeys("they them their theirs themselves".split(), "they"),
}
_OWNING = frozenset("my mine your yours our ours his hers her their theirs".split())
_TENSES = {
    **dict.fromkeys("was were did had been".split(), "past"), **dict.fromkeys("will shall".split(), "future"),
}  # fmt: skip
_MODALS = frozenset("can could should must may might".split())
_NUMBERS = {
    word: str(n)
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
} | {word: str(10 * n) for n, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), 3)}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What must be equal; see the head of the file. Equal meanings compare and hash equal."""

    asks: str
    content: frozenset[str]
    order: tuple[str, ...]
    directed: frozenset[tuple[str, str]]
    numbers: tuple[str, ...]
    denials: int
    voice: frozenset[str]
    times: tuple[tuple[str, float, float], ...]


def normalised(text: str) -> str:
    """A text without what never matters: case, form of characters, spacing, marks at its end, quotes' shape."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("`", "'")
    return " ".join(folded.split()).strip(" ?!.…")


def meaning(question: str, now: float) -> Meaning:
    """What a question asked at `now` (seconds since 1970) means, as far as that can be compared."""
    text = unwrapped(question)
    said = expressions(text, now)
    found = [
        word for word in words(text) if not any(it.start < word.end and word.start < it.end for it in said)
    ]
    content, order, directed, numbers = _carried(found)
    lowers = [word.lower for word in found]
    denials = sum(lower in _DENYING or lower.endswith(("n't", "n’t")) for lower in lowers)
    asks = _asks(text)
    return Meaning(
        asks,
        frozenset(content),
        tuple(order),
        frozenset(directed),
        tuple(numbers),
        denials,
        _voice(asks, lowers),
        tuple(sorted((it.relation, it.when.start, it.when.end) for it in said)),
    )


def topics(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, by their stems, everyday synonyms as one."""
    return frozenset(_carried(words(text))[0])


def figures(text: str) -> tuple[tuple[str, ...], int]:
    """The numbers of a text in their order and how often it denies: what two answers that agree must share."""
    spoken = re.findall(r"\d+(?:[.,]\d+)*|[\w']+", normalised(text))
    numbers = tuple(_NUMBERS.get(it, it) for it in spoken if it[0].isdigit() or it in _NUMBERS)
    return numbers, sum(it in _DENYING or it.endswith("n't") for it in spoken)


def unwrapped(question: str) -> str:
    """A question without what it is wrapped in: "Could you tell me where Ann lives?" is "where Ann lives?"."""
    text = " ".join(unicodedata.normalize("NFKC", question).replace("’", "'").split())
    for pattern, instead in _COMPILED:
        text = pattern.sub(instead, text).strip()
    return text or question


def _carried(found: list[Word]) -> tuple[list[str], list[str], list[tuple[str, str]], list[str]]:
    """Content words, those of them that stand free of a preposition, (direction, word), and numbers."""
    content: list[str] = []
    order: list[str] = []
    directed: list[tuple[str, str]] = []
    numbers: list[str] = []
    led: str | None = None  # the preposition whose phrase we are in
    for word in found:
        if word.kind == "prep":
            led = word.lower
        elif word.kind in ("comma", "stop", "aux", "wh", "conj"):
            led = None
        for carried in _stems(word):
            content.append(carried)
            if carried[0] == "#":
                numbers.append(carried[1:])
            if led is None:
                order.append(carried)
            elif led in _DIRECTED:
                directed.append((led, carried))
                led = "of"  # a direction governs the first word only
        if word.lower.endswith(("'s", "’s")) and order and word.kind in ("name", "open"):
            order.pop()  # Ann's age is the age of Ann
    return content, order, directed, numbers


def _stems(word: Word) -> list[str]:
    if word.kind == "number":
        bare = word.lower.strip("$£€%").replace(",", "")
        return ["#" + _NUMBERS.get(bare, bare)]
    if word.kind == "name":
        return list(word.stems)
    return [_as_one(stem) for stem in word.stems if stem not in _LIGHT and word.lower not in _DENYING]


def _asks(text: str) -> str:
    """The kind of answer wanted; what is only named is asked for: "height of Mount Orr" is a number."""
    asked = analyse(text)
    if asked.wh < 0 and asked.asks == "thing":
        return "named " + analyse("what is the " + text).asks
    return asked.asks


def _voice(asks: str, lowers: list[str]) -> frozenset[str]:
    """Tense and persons; "how do I sort" and "how do you sort" ask the same, "how did I get there" does not."""
    voice = {_TENSES[lower] for lower in lowers if lower in _TENSES}
    anybody = asks.startswith("named") and "past" not in voice
    voice |= {_PERSONS[it] for it in lowers if it in _PERSONS and (it in _OWNING or not anybody)}
    if asks == "yes-no":
        voice |= _MODALS.intersection(lowers)
    return frozenset(voice)


@cache
def _synonyms() -> dict[str, str]:
    families = [[root(terms(word)[0]) for word in line.split()] for line in SYNONYMS.split(";")]
    return {stem: family[0] for family in reversed(families) for stem in family}


def _as_one(stem: str) -> str:
    return _synonyms().get(stem, stem)
