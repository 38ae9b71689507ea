"""A headless Chromium for tests of pages and widgets: what it is started with, and what it must not say or ask for."""

import json
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


def launched(driver):
    """A browser of a Playwright driver."""
    return driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


class Watched:
    """A page of a browser, opened from a folder of files; what went wrong on it is in `faults`."""

    def __init__(self, browser, folder, width=1280, scheme="light"):
        self.folder, self.faults = folder, []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._asked)

    def _said(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _asked(self, request):
        if not request.url.startswith((f"file://{self.folder}/", "data:", "blob:")):
            self.faults.append(f"asked for {request.url}")

    def open(self, name):
        """The page, at an address below the folder."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.folder}/{name}")
        return self.page

    def close(self):
        """Hold that nothing went wrong."""
        self.context.close()
        assert not self.faults, self.faults


def serious(page):
    """What axe-core finds on a page that keeps people out: [(rule, what is concerned)]."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [
        (rule["id"], json.dumps([node["html"][:160] for node in rule["nodes"][:3]]))
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
