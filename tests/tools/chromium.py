"""A headless Chromium for the tests of pages."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time

import pytest


def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no Chromium to open the page in")
    return found


class Tab:
    """A page in a headless Chromium, spoken to by its debugging pipe."""

    def __init__(self, profile):
        argv = [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe",
                f"--user-data-dir={profile}", "--window-size=1300,900", "about:blank"]  # fmt: skip
        there, self.out = os.pipe()
        self.back, here = os.pipe()

        def place():  # the browser reads from 3 and writes to 4
            low, high = os.dup(there), os.dup(here)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            argv, preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(here)
        self.numbers, self.session, self.rest, self.log = itertools.count(1), None, b"", []
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in pages if t["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.back, 1 << 20)
                assert part, "the browser has gone"
                self.rest += part
            text, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.log.append(json.dumps(answer["params"]))

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression, seconds=60.0):
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"never came true: {expression}; {self.log}"
            time.sleep(0.05)

    def open(self, path, ready):
        self.ask("Page.navigate", url=path.as_uri())
        self.wait(ready)

    def key(self, key, shift=False):
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)

    def text(self, place):
        return self.value(f"document.querySelector({place!r}).innerText")

    def frame(self):
        return int(self.value("document.documentElement.dataset.frame"))

    def close(self):
        self.ask("Page.stopLoading")
        self.process.terminate()
        self.process.wait(timeout=30)
        os.close(self.out)
        os.close(self.back)
