"""What the HTTP SMS server answers, as an OpenAPI description."""

from typing import Any

from dialplan_sms import __version__
from dialplan_sms.outbox.schema import State
from dialplan_sms.sms import api
from dialplan_sms.web.http.session import COOKIE

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["type", "reason", "result"],
    "properties": {
        "type": {"const": api.ERROR},
        "reason": {**_TEXT, "description": "One line for people"},
        "result": {"type": "null"},
    },
}
_RESULT = {
    "type": "object",
    "required": ["type", "result"],
    "properties": {"type": {"const": api.RESULT}, "result": {"const": api.SUCCESS}},
}
_WARNING = {
    "type": "object",
    "required": ["type", "reason", "result"],
    "properties": {
        "type": {"const": api.WARNING},
        "reason": _TEXT,
        "result": {
            "type": "array",
            "items": _TEXT,
            "description": "The numbers that cannot be sent to; the others are stored",
        },
    },
}
_PARAMETERS = {
    "number": "One number or several, separated by commas",
    "message": "The text",
    "postpone": "When to send, local time, as 14/07/2014 15:35; now without it",
    "gsm": "MAC address of the GSM gateway, as 9c7514330001",
}
_NEEDED = ("number", "message")


def _json(description: str, *schemas: dict[str, Any]) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": list(schemas)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ANSWERS = {
    "200": _json(
        "Stored, and sent from there; or some numbers were refused; or nothing was stored, as"
        " reason says",
        _RESULT, _WARNING, _ERROR,
    ),
    "400": _json("Not UTF-8, or not URL-encoded", _ERROR),
    "401": _json("Wrong user or password", _ERROR),
    "403": _json("The client's address is not allowed, or it is a browser", _ERROR),
    "413": _json("More than 1 MiB", _ERROR),
    "415": _json("The body is no form, but JSON for instance", _ERROR),
    "429": _json("Too many wrong passwords from this address", _ERROR),
    "503": _json("Nothing was stored: the service is busy, or its outbox out of order", _ERROR),
    "504": {
        "description": "Nobody knows whether it was stored: it may be sent",
        "content": {"text/plain": {"schema": _TEXT}},
    },
}  # fmt: skip


def _operation(name: str, **more: Any) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": "Send an SMS",
        "security": [{"basic": []}],
        "responses": _ANSWERS,
        **more,
    }


def _path(suffix: str) -> dict[str, Any]:
    fields = {name: {**_TEXT, "description": text} for name, text in _PARAMETERS.items()}
    form = {"type": "object", "properties": fields, "required": list(_NEEDED)}
    body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    query = [
        {
            "name": name, "in": "query", "required": name in _NEEDED, "schema": _TEXT,
            "description": text,
        }
        for name, text in _PARAMETERS.items()
    ]  # fmt: skip
    return {
        "post": _operation(f"send{suffix}", requestBody=body),
        "get": _operation(f"sendByQuery{suffix}", parameters=query),
    }


def _html(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/html": {"schema": _TEXT}}}


_SESSION: list[dict[str, list[str]]] = [{"session": []}]
_REFUSED = {
    "401": _html("The form to log in"),
    "403": {
        "description": "The client's address is not allowed, or a form is not the page's own",
        "content": {"text/html": {"schema": _TEXT}, "application/json": {"schema": _ERROR}},
    },
    "503": _html("The outbox cannot be read now"),
}
_MISSING = {
    "description": "There is no such SMS, or no such path",
    "content": {"text/html": {"schema": _TEXT}, "application/json": {"schema": _ERROR}},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
_FILTERS = {
    "state": {"enum": ["", *map(str, State)]},
    "number": {
        **_TEXT,
        "maxLength": 60,
        "pattern": r"^(?:[ ()./+-]*[0-9*#][0-9*#()./ +-]*)?$",
        "description": "All or some digits of a number",
    },
    "sender": {**_TEXT, "maxLength": 200, "pattern": r"^[^\u0000]*$"},
}


def _shown(name: str, summary: str, **answers: dict[str, Any]) -> dict[str, Any]:
    responses = {code.removeprefix("on"): answer for code, answer in answers.items()} | _REFUSED
    return {
        "operationId": name,
        "summary": summary,
        "security": _SESSION,
        "responses": {"304": {"description": "As it was"}} | responses,
    }


def _form(name: str, summary: str) -> dict[str, Any]:
    done = {
        "description": "Done; the page that says so",
        "headers": {"Location": {"schema": _TEXT}},
    }
    form = {
        "type": "object",
        "properties": {"token": {**_TEXT, "description": "From the page's own form"}},
        "required": ["token"],
    }
    return {
        "operationId": name,
        "summary": summary,
        "security": _SESSION,
        "parameters": [_ID],
        "requestBody": {
            "required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}},
        },
        "responses": {
            "303": done,
            "404": _MISSING,
            "409": _html("Its state does not allow it"),
            "413": _html("More than 64 KiB"),
        } | _REFUSED,
    }  # fmt: skip


_PAGE = {
    "/": {
        "get": _shown(
            "list", "The page: SMS, newest first", on200=_html("The list"), on400=_html("No filter")
        )
        | {
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in _FILTERS.items()
            ]
        }
    },
    "/message/{id}": {
        "get": _shown("show", "One SMS and its tries", on200=_html("It"), on404=_MISSING)
        | {"parameters": [_ID]}
    },
    "/message/{id}/retry": {"post": _form("retry", "Send it again, now")},
    "/message/{id}/cancel": {"post": _form("cancel", "End one that waits")},
}


def describe(page: bool) -> dict[str, Any]:
    """The description, with the page's own addresses where there is one."""
    return _DESCRIPTION | {"paths": _DESCRIPTION["paths"] | (_PAGE if page else {})}


_DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "dialplan-sms",
        "version": __version__,
        "description": "The SMS API of a PBX: whatever speaks it can send through this service.",
    },
    "paths": {
        api.PATH: _path(""),
        api.OLD_PATH: _path("ByOldPath"),
        "/openapi.json": {
            "get": {
                "operationId": "describe",
                "summary": "This description",
                "responses": {
                    "200": _json("OpenAPI 3.1", {"type": "object"}),
                    "403": _json("The client's address is not allowed", _ERROR),
                },
            }
        },
    },
    "components": {
        "securitySchemes": {
            "basic": {"type": "http", "scheme": "basic"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
    },
}
