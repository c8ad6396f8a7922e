"""The pictures of README and docs/, taken anew: `python -m tests.browser.pictures`, with Pillow, which no test needs."""

import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import sync_playwright

from dialplan_sms.outbox.store import Outbox
from tests.unit.paged import ROME, Playground, served, variety

FOLDER = Path(__file__).parents[2] / "docs/pictures"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(f"sqlite:///{folder}/outbox.sqlite")
        id_ = variety(outbox)
        playground = Playground()
        playground.set_fault("slow")
        with served(outbox, playground.routes) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            for name, path, width, height, theme in (
                ("light", "/", 1280, 760, "light"), ("dark", "/", 1280, 760, "dark"),
                ("narrow", "/", 390, 800, "light"), ("story", f"/message/{id_}", 900, 760, "light"),
                ("phone", f"/phone/{quote(ROME)}", 560, 560, "light"),
            ):  # fmt: skip
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if theme == "dark" else "light",
                )
                page = context.new_page()
                page.goto(url + path)
                page.wait_for_selector("#live:not([hidden])")
                raw, picture = Path(folder, f"{name}.png"), FOLDER / f"{name}.png"
                page.screenshot(path=raw)
                few = Image.open(raw).convert("RGB").quantize(160, dither=Image.Dither.NONE)
                few.save(picture, optimize=True)
                context.close()
            browser.close()
        outbox.close()


if __name__ == "__main__":
    main()
