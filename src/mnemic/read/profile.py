"""Standing instructions and preferences: what a person wants kept in mind always (NLSI, paper 53).

"Always answer in metric units", "I'm vegetarian" and "call me Sam" share no words with the questions they bear
on, so no search would bring them back: they are found when they are said and come along with every recall.

Two judges must agree, because a wrong standing instruction harms every later answer. Rules say what a
standing sentence looks like, where it starts and which kind it is, and rule out what is quoted, reported,
supposed, past, denied, asked or meant for once. A small classifier then weighs the whole sentence:

    p(standing | sentence) = sigmoid(b + sum_g w[hash(g) mod 4096])     g: its words, pairs, triples

Its weights (`profile.json`) are fitted by `python -m mnemic.bench.fit_profile` on generated sentences.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from functools import cache
from importlib.resources import files
from typing import Literal
from zlib import crc32

import numpy as np

from mnemic.segment.sentences import sentences
from mnemic.types import Floats

Standing = Literal["instruction", "preference", "fact", "name", "reminder"]

BUCKETS = 4096
LEAST = 0.5  # probability under which the classifier overrules the rules
LONGEST = 300  # characters; a longer sentence is a text about something, not an instruction

_VERBS = (
    "answer|reply|respond|write|speak|talk|use|give|show|tell|keep|call|address|include|add|avoid|skip|leave|put|"
    "format|convert|explain|assume|treat|remember|suggest|recommend|mention|ask|check|send|book|cite|quote|spell|"
    "translate|summarise|summarize|stick|make|be|start|begin|end|finish|say|list|schedule|order|"
    "default|prefer|limit|offer|sign|double-check|remind|warn"
)
_STATES = (
    "vegetarian|vegan|pescatarian|coeliac|celiac|diabetic|lactose[- ]intolerant|gluten[- ]intolerant|teetotal|"
    "colou?r[- ]?blind|dyslexic|left[- ]handed|deaf|blind|hard of hearing|pregnant|kosher|halal"
)
_RULES: dict[Standing, tuple[str, ...]] = {
    "name": (
        r"(?:please |just |you can |everyone can )?call me "
        r"(?!(?:back|when|if|at|on|later|tomorrow)\b)\w",
        r"my (?:name is|name's|pronouns are|nickname is)\b",
        r"(?:please )?(?:refer to|address) me (?:as|by|with)\b",
    ),
    "reminder": (
        r"(?:please |and )?remind me (?:to|about|of|that|every|when|each)\b",
        r"(?:please )?don'?t let me forget\b",
    ),
    "instruction": (
        r"(?:please )?(?:always|never) (?:\w+ly )?(?:" + _VERBS + r")\b",
        rf"(?:please )?(?:{_VERBS})\b[^.]*\b(?:from now on|in (?:the )?future|going forward|every time|"
        r"each time|by default|any ?more|ever again|at all times|always)\b",
        r"(?:please )?(?:don'?t|do not|stop) (?:ever |" + _VERBS + r"|\w+ing)\b[^.]*"
        r"\b(?:ever|again|any ?more|from now on|in (?:the )?future|going forward)\b",
        r"(?:please )?(?:don'?t|do not) ever\b",
        r"(?:from now on|in (?:the )?future|going forward|from (?:today|here) on|by default),? "
        rf"(?:please )?"
        rf"(?:always |never |only |i (?:want|need|would like|'d like) |don'?t |do not |just |{_VERBS})",
        r"(?:when(?:ever| ever)|every time|each time|any time|anytime) (?:i|you|we)\b[^,]*,? "
        rf"(?:please )?(?:always |never |only |don'?t |do not |just )?(?:{_VERBS})\b",
        r"i (?:want|need|would like|'d like|expect) (?:you|your (?:answers|replies)) to "
        r"(?:always|never|only|stop|remember)\b",
        r"(?:make sure|be sure) (?:to |you |that you )?(?:always|never)\b",
        r"(?:please )?keep (?:your|all|every|all your) (?:answers?|repl(?:y|ies)|responses?|messages?)\b",
    ),
    "preference": (
        r"i(?: really| much| always| generally| usually| strongly)? prefer\b",
        r"i'?d (?:always |generally )?rather\b",
        r"i (?:really |absolutely |just )?(?:hate|dislike|detest|loathe|love|can'?t stand|don'?t like|"
        r"do not like|am not a fan of|avoid)\b(?! (?:it|that|this|you|how|your|what|when|the way)\b)",
        r"i(?:'m| am) not a fan of\b",
        r"my (?:all[- ]time )?(?:favou?rite|preferred)\b.* (?:is|are|has always been)\b",
    ),
    "fact": (
        rf"i(?:'m| am) (?:a |an |strictly |actually |also )*(?:{_STATES})\b",
        r"i(?:'m| am| have) (?:also |severely |badly |deathly |very )*"
        r"(?:allergic to|intolerant to|an allergy to|an intolerance to|a [\w-]+ allergy)\b",
        r"i (?:don'?t|do not|never|can'?t|cannot) (?:eat|drink|fly|drive|smoke)\b",
        r"i only (?:eat|drink|fly|wear|read|speak|use)\b",
    ),
}  # fmt: skip
_COMPILED = tuple((kind, re.compile("|".join(rules), re.IGNORECASE)) for kind, rules in _RULES.items())
_LEAD = re.compile(
    r"\s*(?:[-*•]\s+)?(?:(?:hi|hey|hello|ok|okay|oh|well|also|and|so|but|by the way|btw|fyi|note|"
    r"please note|remember|just so you know|for the record|one more thing|note that|keep in mind|"
    r"remember that|as you know|"
    r"thanks|thank you|yes|no|actually|p\.s\.)\b[\s,:;.!—-]*(?:that )?)*",
    re.IGNORECASE,
)
_NOT_STANDING = re.compile(
    r"""\b(?:
      if\ i\ (?:were|was|had)|suppose|supposing|imagine|pretend|let'?s\ say|hypothetically|what\ if|as\ if|
      i\ (?:might|would|could|may)\b|would\ (?:have|be)|wish\b|
      used\ to|when\ i\ was|back\ (?:then|when|in)|in\ the\ past|at\ the\ time|once\ upon|years\ ago|
      no\ longer|stopped\ being|
      \w+\ (?:said|says|told\ me|tells\ me|asked\ me|claims|claimed|thinks|wrote|insisted|suggested|advised)|
      just\ this\ once|this\ (?:one\ )?time|for\ now|only\ today|(?:just\ )?for\ today|
        for\ this\ (?:one|message|email|answer|question|task|draft|trip)|
        in\ this\ (?:case|message|email|letter|scene|sentence|chapter|story|draft)|
      (?:character|narrator|protagonist|persona|role)\b|the\ (?:sign|manual|label|lyrics?|song|book)
    )""",
    re.VERBOSE | re.IGNORECASE,
)  # fmt: skip
_ANYMORE_FACT = re.compile(r"\bany ?more\b", re.IGNORECASE)
_QUOTES = re.compile(r"[\"“][^\"”]*(?:[\"”]|$)|^\s*>.*$|```.*?(?:```|$)", re.MULTILINE | re.DOTALL)
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[?!,]")
_OTHERS = frozenset(("assistant", "system", "tool", "function", "developer", "ai", "bot", "model"))


def find(text: str, author: str | None = None) -> list[tuple[int, int, Standing]]:
    """Standing instructions and preferences a person states in `text`.

    Args:
        author: who said it; what an assistant, a system or a tool says never stands.

    Returns:
        (start, end, kind) with the characters [start, end) of each, in order: "instruction" (how to act),
        "preference" (what is liked), "fact" (what is always true of the person: diet, allergy), "name"
        (what to call them), "reminder".
    """
    if author is not None and author.strip().lower() in _OTHERS:
        return []
    quoted = [match.span() for match in _QUOTES.finditer(text)]
    found = []
    for span in sentences(text):
        lead = _LEAD.match(text, span.start, span.stop)
        start = lead.end() if lead else span.start
        said = text[start : span.stop].rstrip()
        kind = _kind(said)
        if kind is None or any(a < start + len(said) and start < b for a, b in quoted):
            continue
        if probability(said) >= LEAST:
            found.append((start, start + len(said), kind))
    return found


def _kind(said: str) -> Standing | None:
    """The kind of standing sentence the rules take this for; None if they rule it out."""
    plain = said.replace("’", "'")
    if plain.endswith("?") or len(plain) > LONGEST or _NOT_STANDING.search(plain):
        return None
    kind = next((kind for kind, rule in _COMPILED if rule.match(plain)), None)
    return None if kind in ("fact", "preference") and _ANYMORE_FACT.search(plain) else kind


def probability(sentence: str) -> float:
    """How likely a sentence states something that stands, by its words alone."""
    bias, weight = _weights()
    return 1 / (1 + math.exp(-bias - float(weight[buckets(sentence)].sum())))


def buckets(sentence: str) -> list[int]:
    """The hash buckets of a sentence's words, pairs and triples of words, each once."""
    tokens = ["^", *_TOKEN.findall(sentence.lower().replace("’", "'")), "$"]
    grams = {" ".join(tokens[i : i + n]) for n in (1, 2, 3) for i in range(len(tokens) - n + 1)}
    return sorted({crc32(gram.encode()) % BUCKETS for gram in grams})


@cache
def _weights() -> tuple[float, Floats]:
    stored = json.loads(files("mnemic.read").joinpath("profile.json").read_text(encoding="utf-8"))
    eighths = np.frombuffer(b64decode(stored["weights"]), dtype=np.int8)
    return float(stored["bias"]), eighths.astype(np.float32) * float(stored["step"])
