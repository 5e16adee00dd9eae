"""The views of the page: what each shows, and what its forms change.

A view acts for whoever sent the request, through the same desk as every other door, so a key for one space sees
and changes that space only. Forms are posted and answered with a redirect (reloading changes nothing again);
that they come from this page is what the guard checks (Origin, Sec-Fetch-Site).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

import mnemic
from mnemic.serve.guard import COOKIE, access
from mnemic.serve.keys import Access
from mnemic.serve.page import plots, results, show
from mnemic.serve.page.episodes import Episode, Episodes, end_of
from mnemic.serve.wire import Unreadable, explained
from mnemic.store import Link, UnknownRecord
from mnemic.types import DEFAULT_SPACE, MnemicError, Record

if TYPE_CHECKING:
    from mnemic.serve.app import State

HERE = Path(__file__).parent
EPISODES, HITS, WHOLE = 15, 15, 500  # a page of the timeline; of a search; records of an episode shown in full
NEIGHBOURS = 2
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
DONE = {  # what a banner may say; nothing of an address reaches a page as words
    "forgotten": "Forgotten. It is no longer found.",
    "purged": "Purged: gone from every byte of the memory.",
    "pending": "Purged, out of every result; bytes may remain until another reader of the file has finished.",
    "undone": "Undone.",
    "nothing": "There is nothing to undo.",
    "changed": "Changed. The old words stay in its history.",
    "added": "Added to the profile.",
    "remembered": "Remembered.",
}

_Given = dict[str, str]


class Page:
    """The views over one server's state."""

    def __init__(self, state: State) -> None:
        self._desk, self._keys = state.desk, state.keys
        self._jinja = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.globals |= {
            "day": show.day, "month": show.month, "clock": show.clock, "said": show.said, "size": show.size,
            "marked": show.marked, "label": show.label, "number": show.number, "interval": plots.interval,
            "metrics_of": results.metrics, "scale": results.scale, "version": mnemic.__version__,
        }  # fmt: skip

    # ----------------------------------------------------------------- looking

    async def timeline(self, request: Request) -> Response:
        """Episodes, newest first, under an overview of all months."""
        who, space, given = self._asked(request)
        number = max(0, _whole(given.get("page", "0")))
        until = given.get("until") or None
        before = None if until is None else end_of(until)

        def episodes() -> tuple[list[Episode], int, list[tuple[str, int]]]:
            memory = self._desk.memory
            memory.mirror.refresh()
            all_of_them = Episodes(memory.mirror, space)
            some = all_of_them.page(memory.store, number * EPISODES, EPISODES + 1, before)
            return some, len(all_of_them), all_of_them.overview()

        found, count, counts = await self._desk.run("asking", episodes)
        links = [_address("/", space, until=name) for name, _ in counts]
        return await self._show(
            request, "timeline.html", who, space,
            episodes=found[:EPISODES], more=len(found) > EPISODES, number=number, until=until, count=count,
            overview=plots.months(counts, links) if len(counts) > 1 else None, query="",
        )  # fmt: skip

    async def search(self, request: Request) -> Response:
        """What is found for a query and why; only that part of the page if a script asks for it."""
        who, space, given = self._asked(request)
        query = given.get("q", "").strip()
        if not query:
            return RedirectResponse(_address("/", space), 303)
        found = await self._desk.recall(who, query, HITS, space=space)
        hits = [
            {
                "record": hit.record,
                "text": show.marked(
                    hit.record.text, show.asked_for(hit.record.text, query) or [(hit.start, hit.end)]
                ),
                "why": hit.why,
                "channels": sorted(hit.channels.items(), key=lambda it: -it[1]),
            }
            for hit in found
        ]
        template = "hits.html" if given.get("part") else "search.html"
        return await self._show(request, template, who, space, hits=hits, query=query)

    async def ask(self, request: Request) -> Response:
        """An answer with the words it rests on, marked where they stand."""
        who, space, given = self._asked(request)
        question = given.get("q", "").strip()
        answer, cited = None, []
        if question:
            answer = await self._desk.ask(who, question, space=space)
            spans: dict[int, list[tuple[int, int]]] = {}
            records: dict[int, Record] = {}
            for it in answer.citations:
                records[it.record.id] = it.record
                spans.setdefault(it.record.id, []).append((it.start, it.end))
            cited = [(record, show.marked(record.text, spans[id])) for id, record in records.items()]
        return await self._show(request, "ask.html", who, space, question=question, answer=answer, cited=cited)

    async def record(self, request: Request) -> Response:
        """A record with its versions, neighbours, links and history."""
        who, space, _ = self._asked(request)
        id = _whole(request.path_params["id"])
        record = await self._desk.show(who, id, space=space)
        history = await self._desk.history(who, id, space=space)

        def around() -> tuple[list[Link], dict[int, Record], Episode | None]:
            memory = self._desk.memory
            links = memory.store.links([id])
            memory.mirror.refresh()
            episode = Episodes(memory.mirror, space).holding(memory.store, id, WHOLE)
            beside = {end for it in links for end in (it.a, it.b)}
            beside |= {it for it in (record.supersedes, record.superseded_by) if it is not None}
            known: dict[int, Record] = {}
            for one in beside - {id}:
                try:
                    known[one] = memory.show(one, space=space)
                except UnknownRecord:  # purged since
                    continue
            return links, known, episode

        links, known, episode = await self._desk.run("asking", around)
        near: list[Record] = []
        if episode is not None:
            at = next((n for n, it in enumerate(episode.records) if it.id == id), None)
            if at is not None:
                near = list(episode.records[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1])
        return await self._show(
            request, "record.html", who, space, record=record, history=history, links=links, known=known,
            episode=episode, near=near,
        )  # fmt: skip

    async def episode(self, request: Request) -> Response:
        """All records of an episode."""
        who, space, _ = self._asked(request)
        id = _whole(request.path_params["id"])

        def found() -> Episode | None:
            memory = self._desk.memory
            memory.mirror.refresh()
            return Episodes(memory.mirror, space).holding(memory.store, id, WHOLE)

        episode = await self._desk.run("asking", found)
        if episode is None:
            raise UnknownRecord(f"space {space!r} has no live record {id}")
        return await self._show(request, "episode.html", who, space, episode=episode)

    async def profile(self, request: Request) -> Response:
        """Standing instructions and preferences, each editable."""
        who, space, _ = self._asked(request)
        entries = await self._desk.profile(who, space=space)
        return await self._show(request, "profile.html", who, space, entries=entries)

    async def spaces(self, request: Request) -> Response:
        """What each space holds, in records and bytes, beside its budget."""
        who, space, _ = self._asked(request)
        stats = {name: await self._desk.stats(who, name) for name in await self._desk.spaces(who)}

        def bar(name: str, it: Mapping[str, Any], parts: tuple[str, ...], limit: str) -> plots.Bar:
            return plots.Bar(name, tuple(float(it[part]) for part in parts), (it["budget"] or {}).get(limit))

        bytes_ = [bar(name, it, ("text_bytes", "vector_bytes"), "nbytes") for name, it in stats.items()]
        counts = [bar(name, it, ("live", "superseded", "forgotten"), "records") for name, it in stats.items()]
        whole = await self._desk.stats(who) if who.spaces is None else None
        return await self._show(
            request, "spaces.html", who, space, stats=stats, whole=whole,
            by_bytes=plots.bars("Bytes of text and of vectors by space", bytes_),
            by_records=plots.bars("Live, superseded and forgotten records by space", counts),
        )  # fmt: skip

    async def results(self, request: Request) -> Response:
        """The board of claims and the benches that were run."""
        who, space, _ = self._asked(request)
        board, names = await asyncio.to_thread(lambda: (results.claims(), results.names()))
        return await self._show(request, "results.html", who, space, claims=board, names=names)

    async def bench(self, request: Request) -> Response:
        """One result: every system and metric with its interval."""
        who, space, _ = self._asked(request)
        name = request.path_params["name"]
        result = await asyncio.to_thread(results.bench, name)
        if result is None:
            raise HTTPException(404, "there is no result of that name")
        return await self._show(request, "bench.html", who, space, name=name, result=result)

    # ----------------------------------------------------------------- changing

    async def forget(self, request: Request) -> Response:
        """Forget a record, or purge it if that was ticked."""
        who, space, given = await self._posted(request)
        id = _whole(request.path_params["id"])
        purge = given.get("purge") == "yes"
        gone = await self._desk.forget(who, [id], space=space, purge=purge)
        done = "forgotten" if not purge else "purged" if gone.purged else "pending"
        back = "/profile" if given.get("back") == "profile" else "/"
        return RedirectResponse(_address(back, space, done=done), 303)

    async def supersede(self, request: Request) -> Response:
        """Let other words stand for what a record says."""
        who, space, given = await self._posted(request)
        id = _whole(request.path_params["id"])
        text = given.get("text", "").strip()
        if not text:
            raise MnemicError("there are no words to stand for it; to remove a record, forget it")
        new = await self._desk.supersede(who, id, text, when=given.get("when", "").strip() or None, space=space)
        back = "/profile" if given.get("back") == "profile" else f"/records/{new.id}"
        return RedirectResponse(_address(back, space, done="changed"), 303)

    async def add(self, request: Request) -> Response:
        """Add an entry to the profile."""
        who, space, given = await self._posted(request)
        if not (text := given.get("text", "").strip()):
            raise MnemicError("there is nothing to add; write what should always be kept in mind")
        await self._desk.remember(who, text, kind="profile", space=space)
        return RedirectResponse(_address("/profile", space, done="added"), 303)

    async def remember(self, request: Request) -> Response:
        """Remember a text."""
        who, space, given = await self._posted(request)
        if not (text := given.get("text", "").strip()):
            raise MnemicError("there is nothing to remember; write something")
        when = given.get("when", "").strip() or None
        await self._desk.remember(who, text, when=when, source="page", author="me", space=space)
        return RedirectResponse(_address("/", space, done="remembered"), 303)

    async def undo(self, request: Request) -> Response:
        """Reverse the last change of the space."""
        who, space, given = await self._posted(request)
        undone = await self._desk.undo(who, space=space)
        done = "nothing" if undone.startswith("nothing") else "undone"
        back = "/profile" if given.get("back") == "profile" else "/"
        return RedirectResponse(_address(back, space, done=done), 303)

    # ----------------------------------------------------------------- coming in

    async def login(self, request: Request) -> Response:
        """The form for a key, and what is made of it: a cookie that no script can read."""
        if request.method == "GET":
            return self._bare("login.html", wrong=False)
        token = dict(parse_qsl((await request.body()).decode("utf-8", "replace"))).get("key", "").strip()
        if self._keys is not None and await asyncio.to_thread(self._keys.access, token) is None:
            return self._bare("login.html", 401, wrong=True)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return response

    async def logout(self, request: Request) -> Response:
        """Take the cookie back."""
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    async def file(self, request: Request) -> Response:
        """One of the three files that belong to the page."""
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, "there is no such file")
        return Response(await asyncio.to_thread((HERE / "static" / name).read_bytes), media_type=FILES[name])

    # ----------------------------------------------------------------- for all of them

    def _asked(self, request: Request) -> tuple[Access, str, _Given]:
        """Who asks, in which space, and for what."""
        who, given = access(request.state), dict(request.query_params)
        return who, who.enter(given.get("space") or None), given

    async def _posted(self, request: Request) -> tuple[Access, str, _Given]:
        """Who posts a form, about which space, and its fields."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise HTTPException(415, "send a form")
        try:
            given = dict(parse_qsl((await request.body()).decode("utf-8"), max_num_fields=20))
        except ValueError:
            raise Unreadable("the form cannot be read") from None
        who = access(request.state)
        return who, who.enter(given.get("space") or None, writing=True), given

    async def _show(
        self, request: Request, template: str, who: Access, space: str, status: int = 200, **values: Any
    ) -> Response:
        spaces = await self._desk.spaces(who)
        values |= {
            "space": space,
            "spaces": sorted({*spaces, space}),
            "writes": who.writes,
            "keyed": self._keys is not None,
            "path": request.url.path,
            "done": DONE.get(request.query_params.get("done", "")),
            "undoable": request.query_params.get("done") in ("forgotten", "changed", "added", "remembered"),
            "to": lambda path, **params: _address(path, space, **params),
        }
        return self._html(template, status, values)

    def _bare(self, template: str, status: int = 200, **values: Any) -> Response:
        bare: dict[str, Any] = {
            "space": None,
            "spaces": [],
            "writes": False,
            "keyed": False,
            "path": "",
            "done": None,
        }
        return self._html(template, status, bare | {"undoable": False, "to": _bare_address} | values)

    def _html(self, template: str, status: int, values: Mapping[str, Any]) -> Response:
        text = self._jinja.get_template(template).render(**values)
        return Response(text, status, media_type="text/html; charset=utf-8")

    def told(self, view: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """A view whose failures are pages."""

        async def endpoint(request: Request) -> Response:
            try:
                return await view(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except HTTPException as error:
                status, message = error.status_code, error.detail
            except (Unreadable, ValidationError, MnemicError, ValueError, TypeError, LookupError) as error:
                status, message = explained(error)
            return self._bare("error.html", status, code=status, message=message)

        return endpoint


def routes(state: State) -> list[Route]:
    """The page, its forms and its files."""
    page = Page(state)
    gets = {
        "/": page.timeline, "/search": page.search, "/ask": page.ask, "/records/{id}": page.record,
        "/episodes/{id}": page.episode, "/profile": page.profile, "/spaces": page.spaces,
        "/results": page.results, "/results/{name}": page.bench, "/login": page.login,
        "/static/{name}": page.file,
    }  # fmt: skip
    posts = {
        "/records/{id}/forget": page.forget, "/records/{id}/supersede": page.supersede, "/profile": page.add,
        "/remember": page.remember, "/undo": page.undo, "/login": page.login, "/logout": page.logout,
    }  # fmt: skip
    return [
        *(Route(path, page.told(view), methods=["GET"]) for path, view in gets.items()),
        *(Route(path, page.told(view), methods=["POST"]) for path, view in posts.items()),
    ]


def _address(path: str, space: str, **params: object) -> str:
    """An address of this page; the space is said where it is not the default."""
    said = {name: str(value) for name, value in params.items() if value not in (None, "")}
    if space != DEFAULT_SPACE:
        said["space"] = space
    return f"{path}?{urlencode(said)}" if said else path


def _bare_address(path: str, **_: object) -> str:
    return path


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UnknownRecord("a record is known by a whole number")
    return int(text)
