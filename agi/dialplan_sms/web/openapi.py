"""What the HTTP SMS server answers, as an OpenAPI description."""

from typing import Any

from dialplan_sms import __version__, api

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
    "403": _json("The client's address is not allowed", _ERROR),
    "413": _json("More than 1 MiB", _ERROR),
    "429": _json("Too many wrong passwords from this address", _ERROR),
    "503": _json("Nothing was stored: the service is busy, or its outbox out of order", _ERROR),
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


DESCRIPTION: dict[str, Any] = {
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
    "components": {"securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}},
}
