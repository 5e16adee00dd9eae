"""What is sent to the doors of /v1 and what comes back; `openapi` describes exactly these.

Requests are checked strictly (a number in quotes is not a number, an unknown field is an error). What comes
back is made by `mnemic.plain` and documented in docs/json.md; here it is only described.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mnemic.types import Kind, State

MOST = 2**63 - 1  # the largest id
LATEST = 253402300799  # seconds since 1970 at the end of the year 9999
EARLIEST = -62135596800

SAID = r"[^\s\x00\ud800-\udfff]"  # something other than space
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Query = Annotated[str, Field(min_length=1, max_length=8192, pattern=r"\S")]
Words = Annotated[Query, Field(json_schema_extra={"format": "mnemic-words"})]
Name = Annotated[str, Field(min_length=1, max_length=200)]
WHOLE = BeforeValidator(
    lambda it: int(it) if isinstance(it, float) and it.is_integer() else it
)  # 3.0 is 3 in JSON
Id = Annotated[int, Field(ge=1, le=MOST), WHOLE]
Time = (
    Annotated[str, Field(min_length=1, max_length=200, json_schema_extra={"format": "mnemic-time"})]
    | Annotated[float, Field(ge=EARLIEST, le=LATEST)]
)


class Asked(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    space: Name | None = Field(None, description="The tenant; without it the key's only one, else `default`.")


class Said(BaseModel):
    """An answer; fields may be added to it."""

    model_config = ConfigDict(extra="allow")


# --------------------------------------------------------------------------- requests


class Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    type: str
    text: str | None = None


class Turn(BaseModel):
    """A message of a conversation; other fields are kept in `meta`."""

    model_config = ConfigDict(extra="allow", strict=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: Name | None = None
    created_at: Time | None = None


def _one_of(*names: str, alone: str | None = None) -> dict[str, Any]:
    """A schema that holds where exactly one of these fields says something, or none and `alone` does."""
    silent: dict[str, Any] = {name: {"type": "null"} for name in names}
    cases = [{"required": [name], "properties": silent | {name: {"not": {"type": "null"}}}} for name in names]
    if alone is not None:
        cases.append({"required": [alone], "properties": silent | {alone: {"not": {"type": "null"}}}})
    return {"oneOf": cases}


class Remember(Asked):
    model_config = ConfigDict(json_schema_extra=_one_of("text", "messages"))

    text: Text | None = None
    messages: list[Turn] | None = Field(None, min_length=1, max_length=10_000)
    when: Time | None = Field(None, description="When it happened: an ISO date, words, or seconds since 1970.")
    source: Name | None = None
    author: Name | None = None
    session: Name | None = None
    title: Name | None = None
    kind: Kind = "text"
    vectors: bool = True

    @model_validator(mode="after")
    def _one(self) -> Remember:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give exactly one of text and messages")
        return self


class Where(Asked):
    source: Name | None = None
    author: Name | None = None
    session: Name | None = None
    kind: Kind | None = None
    before: Time | None = Field(None, description="Only what ended before this.")
    after: Time | None = Field(None, description="Only what started at this or later.")
    when: Time | None = Field(None, description="Only what happened during this.")
    now: Time | None = Field(None, description="The moment that words like yesterday refer to.")
    vectors: bool = True


class Recall(Where):
    query: Query
    k: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    beside: Annotated[int, Field(ge=0, le=10), WHOLE] = 0


class Ask(Where):
    question: Query
    k: Annotated[int, Field(ge=1, le=100), WHOLE] = 10
    stream: bool = Field(False, description="Server-sent events: `evidence`, then `answer`.")


class Order(Asked):
    a: Query
    b: Query


class Timeline(Where):
    about: Query | None = None
    k: Annotated[int, Field(ge=1, le=1000), WHOLE] = 50


class Listing(Asked):
    source: Name | None = None
    session: Name | None = None
    author: Name | None = None
    kind: Kind | None = None
    state: State = "live"
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 100
    after: Annotated[int, Field(ge=0, le=MOST), WHOLE] = Field(
        0, description="Records after this id: `next` of the page before."
    )


class OneRecord(Asked):
    id: Id


class Supersede(Asked):
    text: Text
    when: Time | None = Field(None, description="From when the new text holds.")
    vectors: bool = True


class Forget(Asked):
    model_config = ConfigDict(json_schema_extra=_one_of("ids", "source", "query", "before", alone="space"))

    ids: list[Id] | None = Field(None, min_length=1, max_length=10_000)
    source: Name | None = None
    query: Words | None = Field(None, description="What holds all of these words.")
    before: Time | None = Field(None, description="What ended before this.")
    purge: bool = False

    @model_validator(mode="after")
    def _one(self) -> Forget:
        given = sum(one is not None for one in (self.ids, self.source, self.query, self.before))
        if given > 1 or (given == 0 and self.space is None):
            raise ValueError("give exactly one of ids, source, query and before, or a space alone")
        return self


class Undo(Asked):
    pass


class InSpace(Asked):
    pass


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# --------------------------------------------------------------------------- answers


class Record(Said):
    id: int
    text: str
    space: str
    kind: Kind
    source: str | None
    author: str | None
    session: str | None
    title: str | None
    place: list[str]
    order: int
    start: int
    end: int
    when: str | None
    written: str
    valid_to: str | None
    supersedes: int | None
    superseded_by: int | None
    state: State
    meta: dict[str, Any]


class Records(Said):
    records: list[Record]


class Page(Records):
    next: int | None = Field(description="`after` of the next page; null on the last.")


class Hit(Said):
    score: float
    channels: dict[str, float]
    why: str
    start: int
    end: int
    record: Record


class Recalled(Said):
    query: str
    during: str | None
    hits: list[Hit]
    profile: list[Record]


class Citation(Said):
    quote: str
    start: int
    end: int
    record: Record


class Answered(Said):
    text: str
    abstained: bool
    confidence: float
    citations: list[Citation]
    evidence: Recalled


class Place(Said):
    start: int
    agreement: float
    record: Record


class Ordered(Said):
    first: Literal["a", "b"] | None
    a: Place | None
    b: Place | None


class Change(Said):
    seq: int
    at: str
    op: str
    ids: list[int]
    detail: dict[str, Any]
    undone: bool


class History(Said):
    changes: list[Change]


class Forgotten(Said):
    ids: list[int]
    purged: bool
    detail: str


class Undone(Said):
    undone: str


class Profile(Said):
    profile: list[Record]


class Stats(Said):
    live: int
    superseded: int
    forgotten: int


class Exported(Said):
    """A line of an export: one of a header, a record, a link, a change and, last, the manifest."""


class Imported(Said):
    records: int


class Health(Said):
    status: Literal["ok"]
    version: str


class Trouble(Said):
    message: str
    type: str
    code: int


class Failure(Said):
    error: Trouble


# --------------------------------------------------------------------------- OpenAI's protocol


class Message(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    role: Name
    content: str | list[dict[str, Any]] | None = None


class Chat(BaseModel):
    """A chat; fields that are not named here are passed on as they are."""

    model_config = ConfigDict(extra="allow", strict=True)
    model: Name
    messages: list[Message] = Field(min_length=1, max_length=10_000)
    stream: bool | None = False
    user: Name | None = None


class Completion(Said):
    choices: list[dict[str, Any]]


class Models(Said):
    object: Literal["list"]
    data: list[dict[str, Any]]


class Embed(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    model: Name
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None


class Embeddings(Said):
    object: Literal["list"]
    data: list[dict[str, Any]]
