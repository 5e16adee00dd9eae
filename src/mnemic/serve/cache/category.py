"""The category of a question, found without a language model: rules, else the nearest typical question.

    code        programs, queries, commands: stable, asked often, neighbours lie dense
    state       how something in the world stands now (prices, weather, scores): stale within minutes
    personal    about the asker or what was told to the memory: true until a record changes
    knowledge   anything else with an answer: stable
    chat        greetings, moods, amusement: rarely asked twice

A rule decides where words leave no doubt. Where none does, the category is that of the typical question whose
vector is nearest; without an embedder it is "knowledge".
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from mnemic.types import Embedder, Floats

Category = Literal["code", "state", "personal", "knowledge", "chat"]
CATEGORIES: tuple[Category, ...] = ("code", "state", "personal", "knowledge", "chat")

_CODE = re.compile(
    r"```|`[^`]+`|\w\(\)|[{};]\s*$|=>|::|\b(?:python|javascript|typescript|rust|golang|java|ruby|kotlin|haskell|"
    r"sql|sqlite|postgres|bash|regex|regexp|git|docker|npm|pip|json|yaml|css|html|api|segfault|traceback|"
    r"stack trace|compiler|dataframe|numpy|pandas)\b|\bc\+\+|\bin (?:go|c|r)\b",
    re.IGNORECASE,
)
_STATE = re.compile(
    r"\b(?:weather|forecast|exchange rate|share price|stock price|price of|worth (?:now|today)|score of|"
    r"traffic|latest news|headlines|open (?:now|today|right now)|opening hours today|"
    r"temperature (?:in|outside)|right now|at the moment|how busy|delayed|queue at)\b",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"\b(?:my|mine|our|ours)\b|\b(?:did|do|am|was|have|had|were) (?:i|we)\b", re.IGNORECASE)
_ANYBODY = re.compile(r"\bhow (?:do|can|could|should|would) (?:i|we)\b", re.IGNORECASE)
_CHAT = re.compile(
    r"^(?:hi|hello|hey|good (?:morning|evening|night|afternoon)|thanks?|how are you)\b|\bjokes?\b|\bcheer me\b|"
    r"\b(?:i feel|i['’]?m (?:bored|sad|tired|lonely|happy|nervous))\b|\bpoem\b|\btell me something\b",
    re.IGNORECASE,
)

TYPICAL: dict[Category, tuple[str, ...]] = {
    "code": (
        "How do I split a string on commas?",
        "Write a function that counts the words of a file.",
        "Why does my loop never end?",
        "Undo the last commit but keep the changes",
        "What is the difference between a process and a thread?",
        "Sort the rows of a table by two columns",
    ),
    "state": (
        "How warm is it outside?",
        "What does a barrel of oil cost today?",
        "Who is winning the match?",
        "Is the museum open?",
        "How long is the line at the airport?",
        "What are shares of the railway trading at?",
    ),
    "personal": (
        "Where did I park?",
        "What did I tell you about the kitchen?",
        "Who came to my party?",
        "When is my appointment?",
        "What is my sister's new address?",
        "Which book did I want to read next?",
    ),
    "knowledge": (
        "Who invented the telescope?",
        "How high is the tallest mountain of the island?",
        "What does photosynthesis do?",
        "When was the bridge built?",
        "What is the capital of the province?",
        "Why is the sea salty?",
    ),
    "chat": (
        "What shall we talk about?",
        "I had a hard day.",
        "Do you like music?",
        "Say something nice to me.",
        "Make me laugh.",
        "What would you do on a rainy Sunday?",
    ),
}


class Categories:
    """Finds categories; the typical questions are embedded when first needed."""

    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder = embedder
        self._typical: Floats | None = None  # [questions, dim]
        self._of = [category for category, some in TYPICAL.items() for _ in some]

    def __call__(self, question: str) -> Category:
        """The category of a question."""
        return ruled(question) or self._nearest(question)

    def _nearest(self, question: str) -> Category:
        if self._embedder is None:
            return "knowledge"
        if self._typical is None:
            self._typical = self._embedder.encode([one for some in TYPICAL.values() for one in some])
        return self._of[int(np.argmax(self._typical @ self._embedder.encode([question])[0]))]


def ruled(question: str) -> Category | None:
    """The category that words decide, None where they do not."""
    if _CODE.search(question):
        return "code"
    if _STATE.search(question):
        return "state"
    if _CHAT.search(question):
        return "chat"
    if _PERSONAL.search(_ANYBODY.sub("", question)):
        return "personal"
    return None
