"""Bytes from outside as checked values, and failures as answers: the same for every door."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mnemic.serve.guard import failure
from mnemic.serve.keys import Refused
from mnemic.serve.once import Conflict
from mnemic.store import UnknownRecord
from mnemic.types import MnemicError

M = TypeVar("M", bound=BaseModel)

DEEPEST = 32  # levels of lists and objects in a body


class Unreadable(ValueError):
    """A body is not what it should be."""


def parse(body: bytes) -> Any:
    """The value of a JSON body.

    Raises:
        Unreadable: it is not JSON in UTF-8, nests deeper than `DEEPEST`, or holds half a character.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Unreadable(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise Unreadable(f"the body nests deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:  # a number of thousands of digits, NaN
        raise Unreadable(f"the body is not JSON: {error}") from None
    _sound(value)
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _sound(value: Any) -> None:
    ahead = [(value, 1)]
    while ahead:
        it, level = ahead.pop()
        if isinstance(it, str):
            try:
                it.encode()
            except UnicodeEncodeError:
                raise Unreadable("the body holds half a character (a lone surrogate)") from None
        elif isinstance(it, dict | list):
            if level > DEEPEST:
                raise Unreadable(f"the body nests deeper than {DEEPEST} levels")
            if isinstance(it, dict):
                ahead += [(key, level) for key in it]
            ahead += [(one, level + 1) for one in (it.values() if isinstance(it, dict) else it)]


async def asked(request: Request, model: type[M], *, kind: str = "application/json") -> M:
    """The body of a request as a `model`.

    Raises:
        HTTPException: it is of another media type; Unreadable, ValidationError: it is not such a body.
    """
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != kind:
        raise HTTPException(415, f"send the body as {kind}")
    return model.model_validate(parse(await request.body()))


def told(call: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose failures are answers."""

    async def endpoint(request: Request) -> Response:
        try:
            return await call(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except HTTPException as error:
            return failure(error.status_code, error.detail)
        except Exception as error:
            status, message = explained(error)
            return failure(status, message, "permission_error" if status == 403 else "invalid_request_error")

    return endpoint


def explained(error: Exception) -> tuple[int, str]:
    """The status and the sentence for an error; a failure of the server itself is raised again."""
    if isinstance(error, Refused):
        return 403, str(error)
    if isinstance(error, UnknownRecord):
        return 404, str(error)
    if isinstance(error, Conflict):
        return 409, str(error)
    if isinstance(error, Unreadable):
        return 400, str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return 422, f"{place}: {first['msg']}" if place else str(first["msg"])
    if isinstance(error, MnemicError):
        return (503 if isinstance(error.__cause__, sqlite3.Error) else 409), str(error)
    if isinstance(error, ValueError | TypeError | ArithmeticError):
        return 422, str(error)
    raise error
