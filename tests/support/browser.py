"""A headless Chromium over the DevTools protocol, with the standard library only.

with Browser(profile) as browser:
    browser.open("file:///...", width=390, height=844)
    browser.evaluate("document.title")
    browser.problems    # errors of the page since it was opened
"""

import base64
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from support.pages import CHROMIUM

# of the page: scripts that fail, console.error, and files that are missing or refused
LEVELS = {"error", "assert"}
SECONDS = 60  # for any one answer, so that a slow computer has enough
TEXTS = Path(__file__).with_name("texts.js").read_text(encoding="utf-8")


class Browser:
    def __init__(self, profile):
        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={profile}", "--remote-debugging-port=0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"listening on ws://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise RuntimeError("Chromium ended before it listened")
        # a full pipe would block it
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()
        port = int(found[1])
        new = urllib.request.Request(f"http://127.0.0.1:{port}/json/new", method="PUT")
        with urllib.request.urlopen(new, timeout=SECONDS) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        self.socket = connected(port, address.split(str(port), 1)[1])
        self.sent, self.problems, self.loaded = 0, [], set()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.look()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        self.process.wait(SECONDS)
        self.reader.join()
        self.process.stderr.close()

    def call(self, method, **arguments):
        """The result of a command."""
        self.sent += 1
        send(self.socket, json.dumps({"id": self.sent, "method": method, "params": arguments}))
        while (message := self.receive()).get("id") != self.sent:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def receive(self):
        """The next message; what it says about the page is kept."""
        message = json.loads(received(self.socket))
        event, given = message.get("method"), message.get("params", {})
        if event == "Page.lifecycleEvent" and given["name"] == "load":
            self.loaded.add(given["loaderId"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(given["exceptionDetails"]["text"])
        elif event == "Runtime.consoleAPICalled" and given["type"] in LEVELS:
            self.problems.append(str([one.get("value") for one in given["args"]]))
        elif event == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.problems.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent":
            address = given["request"]["url"]
            if not address.startswith(("file:", "data:", "blob:", "about:")):
                self.problems.append(f"asks the network for {address}")
        return message

    def look(self, dark=False, scripts=True):
        """How pages are shown from now on: in dark colors, with JavaScript. Never with motion."""
        wanted = {"color-scheme": "dark" if dark else "light", "reduced-motion": "reduce"}
        features = [{"name": f"prefers-{name}", "value": value} for name, value in wanted.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, address, width, height):
        """Open a page in a window of this size, and wait until it is loaded."""
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=mobile,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        self.call("Page.navigate", url="about:blank")  # else a page with another #anchor stays
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)  # not over its text
        self.problems = []
        found = self.call("Page.navigate", url=address)
        assert "errorText" not in found, f"{address}: {found['errorText']}"
        while found["loaderId"] not in self.loaded:
            self.receive()
        self.evaluate("document.fonts.ready.then(() => 0)")

    def evaluate(self, code):
        """The value of a JavaScript expression, or of what it promises."""
        found = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            given = found["exceptionDetails"]
            raise RuntimeError(given.get("exception", {}).get("description", given["text"]))
        return found["result"].get("value")

    def wait(self, condition):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"after {SECONDS} s this is not true: {condition}"
            time.sleep(0.02)

    def texts(self, element="document.body"):
        """(number of visible texts within an element, those whose contrast is too low)"""
        found = self.evaluate(f"({TEXTS.strip()})({element})")
        return found["number"], found["faint"]

    def point(self, element):
        """The place in the window of an element, a JavaScript expression; it is scrolled there."""
        return self.evaluate(
            f"""((element) => {{
                element.scrollIntoView({{ block: "center", behavior: "instant" }});
                const box = element.getBoundingClientRect();
                const [x, y] = [box.left + Math.min(box.width / 2, 80), box.top + box.height / 2];
                const top = document.elementFromPoint(x, y);
                if (!element.contains(top)) throw Error(`it is covered by ${{top?.outerHTML}}`);
                return {{ x, y }};
            }})({element})"""
        )

    def hover(self, element):
        """Move the mouse over an element."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.point(element))

    def click(self, element):
        """Press and release the left button of the mouse over an element."""
        place = self.point(element) | {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **place)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **place)

    def tap(self, element):
        """Touch an element with a finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[self.point(element)])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


# ---- a WebSocket (RFC 6455): text messages of a client, which are masked


def connected(port, path):
    sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += exactly(sock, 1)
    assert b" 101 " in answer.split(b"\r\n")[0], answer
    return sock


def send(sock, text):
    data, mask = text.encode(), os.urandom(4)
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", 0x81, 0x80 | size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x81, 0x80 | 127, size)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    sock.sendall(head + mask + masked)


def received(sock):
    """The next message, put together from its frames."""
    message = b""
    while True:
        first, second = exactly(sock, 2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", exactly(sock, 2))
        elif size == 127:
            (size,) = struct.unpack(">Q", exactly(sock, 8))
        data = exactly(sock, size)
        if first & 0x0F in (0, 1, 2):  # others are pings and the end
            message += data
            if first & 0x80:
                return message.decode()


def exactly(sock, n):
    data = bytearray()
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise RuntimeError("Chromium has closed the connection")
        data += part
    return bytes(data)
