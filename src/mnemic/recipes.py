"""Finds methods by file name: "em-llm" in the room "kv" is `kv/em_llm.py`. Nothing is registered by hand.

A module is a method when it says `PAPER = <number>` at its top level; the first line of its docstring
says what it does, `KIND`, in rooms that have several, how it is used, and `CLAIM`, if it has one, how what it
does is shown. Listing reads the files without importing
them, so that it stays cheap where methods need torch; loading imports exactly one.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import ModuleType

from mnemic.types import Claim, MnemicError

ROOMS = ("segment", "index", "retain", "store", "organise", "read", "attention", "kv", "recurrent", "serve")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A method: where it lives, which paper it comes from (0: none of the covered ones), what it does.

    `kind` is how it is used, "" if its file does not say.
    """

    room: str
    name: str
    paper: int
    summary: str
    kind: str = ""

    def load(self) -> ModuleType:
        return importlib.import_module(f"mnemic.{self.room}.{self.name.replace('-', '_')}")

    def claim(self) -> Claim | None:
        return getattr(self.load(), "CLAIM", None)


@cache
def recipes(room: str | None = None) -> tuple[Recipe, ...]:
    """All methods of a room (of every room), in order of room and name.

    Raises:
        MnemicError: no such room.
    """
    if room is None:
        return tuple(recipe for each in ROOMS for recipe in recipes(each))
    if room not in ROOMS:
        raise MnemicError(f"there is no room {room!r}; methods live in {', '.join(ROOMS)}")
    found = []
    folder = resources.files("mnemic") / room
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.name.endswith(".py") and not file.name.startswith("_"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            paper = _constant(tree, "PAPER")
            if isinstance(paper, int):
                summary = (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")
                kind = _constant(tree, "KIND") or ""
                found.append(Recipe(room, file.name[:-3].replace("_", "-"), paper, summary, str(kind)))
    return tuple(sorted(found, key=lambda recipe: recipe.name))


def names(room: str) -> list[str]:
    return [recipe.name for recipe in recipes(room)]


def of_kind(room: str, kind: str, kinds: tuple[str, ...]) -> list[str]:
    """Names of the methods of a room that are used in one way; those that say nothing are of the first kind.

    Raises:
        MnemicError: no such kind.
    """
    if kind not in kinds:
        raise MnemicError(f"there is no kind {kind!r} of method in {room}; there are: {', '.join(kinds)}")
    return [recipe.name for recipe in recipes(room) if (recipe.kind or kinds[0]) == kind]


def load(room: str, name: str) -> ModuleType:
    """The module of one method.

    Raises:
        MnemicError: no such method; the message lists those there are.
    """
    for recipe in recipes(room):
        if recipe.name == name:
            return recipe.load()
    raise MnemicError(
        f"there is no method {name!r} in {room}; there are: {', '.join(names(room)) or 'none yet'}"
    )


def _constant(tree: ast.Module, name: str) -> object:
    """The value a module gives the name at its top level, read without running it; None if it gives none."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=given)], value=ast.Constant(value=value)) if given == name:
                return value
    return None
