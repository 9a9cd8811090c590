"""Chromium by its debugging pipe: pages are opened at a width, in light or dark, with the network cut off, and looked at."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


@dataclass
class Page:
    """One open page: what it asked the network for, what its console said, and how to look at it."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        """Return what an expression is in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def keys(self, text: str) -> None:
        """Type a text, one key after another."""
        for letter in text:
            self._call("Input.dispatchKeyEvent", type="char", text=letter)

    def press(self, key: str, code: int) -> None:
        """Press a key that has a name, such as Tab."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path: Path, *, whole: bool = True) -> Path:
        """Write a screenshot of the page, or of its first screen alone."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def pdf(self, path: Path) -> Path:
        """Print the page."""
        path.write_bytes(base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"]))
        return path

    def accessible(self) -> list[dict[str, Any]]:
        """Return the nodes that a screen reader is told of."""
        nodes: list[dict[str, Any]] = self._call("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node["ignored"]]

    def _call(self, method: str, **parameters: Any) -> Any:
        return self.browser.call(method, self.session, **parameters)


class Browser:
    """A running Chromium."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert program, "the browser tests need Chromium on the PATH"
        (read_command, self._write), (self._read, write_answer) = os.pipe(), os.pipe()

        def wire() -> None:
            ends = os.dup(read_command), os.dup(write_answer)  # 3 or 4 may be the other's number
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [program, *FLAGS, f"--user-data-dir={folder}"]
        self.process = subprocess.Popen(
            command, close_fds=False, preexec_fn=wire, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read_command)
        os.close(write_answer)
        self._number, self._rest, self.pages = 0, b"", dict[str, Page]()
        self._events: list[tuple[str, str]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Send a command and return its answer; what pages ask for and complain of meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def wait_for(self, event: str, session: str) -> None:
        """Wait for an event of a page."""
        while (event, session) not in self._events:
            self._note(self._message())

    @contextmanager
    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Page]:
        """Open a file in a page of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        slow = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.call("Network.emulateNetworkConditions", session, offline=True, **slow)
        self.call(
            "Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme])
        self.call("Page.navigate", session, url=path.as_uri())
        self.wait_for("Page.loadEventFired", session)
        yield page
        self.call("Target.closeTarget", targetId=target)

    def close(self) -> None:
        """End the program."""
        self.call("Browser.close")
        self.process.wait(timeout=30)
        os.close(self._write)
        os.close(self._read)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        page, method, of = self.pages.get(event.get("sessionId", "")), event.get("method", ""), event.get("params", {})
        self._events.append((method, event.get("sessionId", "")))
        if page is None:
            return
        if method == "Network.requestWillBeSent":
            page.requests.append(of["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            page.complaints.append(json.dumps(of["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            page.complaints.append(json.dumps(of["args"]))
        elif method == "Log.entryAdded":
            page.complaints.append(of["entry"]["text"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder))
        try:
            yield browser
        finally:
            browser.close()
