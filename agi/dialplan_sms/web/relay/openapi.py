"""What the HTTP SMS server answers, as an OpenAPI description: openapi.json."""

import json
from pathlib import Path
from typing import Any

from dialplan_sms import __version__
from dialplan_sms.sms import api


def describe(page: bool) -> dict[str, Any]:
    """The description, with the addresses of the page if there is one."""
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
    found["info"]["version"] = __version__
    paths = found["paths"]
    paths[api.OLD_PATH] = {
        method: each | {"operationId": f"{each['operationId']}ByOldPath"}
        for method, each in paths[api.PATH].items()
    }
    if not page:
        api_alone = (api.PATH, api.OLD_PATH, "/openapi.json")
        found["paths"] = {path: paths[path] for path in api_alone}
    return found
