"""A page in a headless Chromium that runs in real time, over a pipe of the DevTools protocol."""

import base64
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.behaviour.test_report_in_a_browser import BROWSER


class Page:
    """One page. errors: what the page threw."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.out, self.into, self.number, self.session = to_browser, from_browser, 0, ""
        self.rest, self.errors = b"", list[str]()

    def call(self, method: str, **params: Any) -> Any:
        """The result of a method of the protocol. RuntimeError where it fails."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        os.write(self.out, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            if not (more := os.read(self.into, 1 << 20)):
                raise RuntimeError("the browser has ended")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(message))

    def evaluate(self, script: str) -> Any:
        """The value of a script, after its promise. RuntimeError for what it throws."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(str(done["exceptionDetails"]))
        return done["result"].get("value")

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Give the window a size in pixels and a scheme of colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """A PNG of the whole page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def opened(address: str, folder: Path) -> Iterator[Page]:
    """A page at an address, without a network; what the browser writes goes into the folder."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "about:blank",
    ]  # fmt: skip

    def connect() -> None:
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]  # which may stand at 3 or 4
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    browser = subprocess.Popen(command, close_fds=False, preexec_fn=connect, stderr=subprocess.DEVNULL)
    try:
        os.close(theirs_in)
        os.close(theirs_out)
        page = Page(ours_out, ours_in)
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page.call("Runtime.enable")
        page.call("Page.enable")
        page.call("Page.navigate", url=address)
        yield page
        page.session = ""
        page.call("Browser.close")
    finally:
        browser.kill()
        browser.wait()
        os.close(ours_out)
        os.close(ours_in)
