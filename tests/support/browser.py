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
import time
import urllib.request

from support.pages import CHROMIUM

# of the page: scripts that fail, console.error, and files that are missing or refused
LEVELS = {"error", "assert"}


class Browser:
    def __init__(self, profile):
        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"listening on ws://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise RuntimeError("Chromium ended before it listened")
        port = int(found[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=60) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        self.socket = connected(port, pages[0]["webSocketDebuggerUrl"].split(str(port), 1)[1])
        self.sent, self.problems, self.loaded = 0, [], False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
        self.process.stderr.close()

    def call(self, method, **arguments):
        """The result of a command."""
        self.sent += 1
        send(self.socket, json.dumps({"id": self.sent, "method": method, "params": arguments}))
        while True:
            message = json.loads(received(self.socket))
            if message.get("id") == self.sent:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message.get("method"), message.get("params", {}))

    def note(self, event, given):
        """Keep what an event says about the page."""
        if event == "Page.loadEventFired":
            self.loaded = True
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

    def open(self, address, width, height):
        """Open a page in a window of this size, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip
        self.problems, self.loaded = [], False
        self.call("Page.navigate", url=address)
        end = time.monotonic() + 60
        while not self.loaded and time.monotonic() < end:
            self.evaluate("0")
            time.sleep(0.05)
        assert self.loaded, f"{address} was not loaded in a minute"
        self.evaluate("document.fonts.ready.then(() => 0)")

    def evaluate(self, code):
        """The value of a JavaScript expression, or of what it promises."""
        found = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["text"])
        return found["result"].get("value")

    def picture(self, path):
        """Write a PNG of the window."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


# ---- a WebSocket (RFC 6455): text messages of a client, which are masked


def connected(port, path):
    sock = socket.create_connection(("127.0.0.1", port), timeout=120)
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
