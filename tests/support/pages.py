"""Environments that pages have, parts of a page, and what headless Chromium makes of it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# id -> arguments to test
CONTROL = {
    "CartPole-v1": [{}, {"sutton_barto_reward": True}],
    "MountainCar-v0": [{}, {"goal_velocity": 0.02}],
    "MountainCarContinuous-v0": [{}, {"goal_velocity": 0.02}],
    "Acrobot-v1": [{}],
    "Pendulum-v1": [{}, {"g": 3.7}],
}
MAP = ["SFFFG", "FHFFS", "FFHFF"]
GRIDS = {
    "FrozenLake-v1": [
        {}, {"is_slippery": False}, {"map_name": "8x8"}, {"success_rate": 0.7},
        {"desc": MAP, "reward_schedule": [2, -1, -0.1]},
    ],
    "FrozenLake8x8-v1": [{}, {"is_slippery": False}],
    "CliffWalking-v1": [{}, {"is_slippery": True}],
    "CliffWalkingSlippery-v1": [{}],
    "Taxi-v4": [{}, {"is_rainy": True}, {"is_rainy": True, "rainy_probability": 0.5}],
}  # fmt: skip

# what a text from others may be
HOSTILE = (
    "</script><script>window.bad=1</script><!--<script> {{data}} {{script}} & \" ' \u2028 \n"
    "<img src=x onerror=bad()>"
)


class Parts(HTMLParser):
    """elements: [(tag, attributes, text)] of scripts, styles, meta elements and titles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tags = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("script", "style", "meta", "title", "h1"):
            self.elements.append([tag, dict(attributes), ""])
            self.inside = tag != "meta"

    def handle_data(self, data):
        if self.elements and self.inside:
            self.elements[-1][2] += data

    def handle_endtag(self, tag):
        self.inside = False

    def texts(self, tag, **attributes):
        """The texts of elements with these attributes."""
        found = [e for e in self.elements if e[0] == tag]
        return [text for _, held, text in found if attributes.items() <= held.items()]


def data_of(path):
    """The data in a page."""
    (text,) = Parts(path.read_text(encoding="utf-8")).texts("script", id="data")
    return json.loads(text)


def opened(path, profile, check=None):
    """The DOM of a page as text after four seconds of its time, and what it wrote to the console.

    profile   an empty folder for the browser
    check     episodes of each agent that the page plays
    """
    address = path.resolve().as_uri() + ("" if check is None else f"#check={check}")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
         "--virtual-time-budget=4000", "--window-size=1200,2600", "--enable-logging=stderr",
         "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


def checked(path, profile, episodes):
    """What the page measures of each agent: steps, pictures, returns, lengths; and the console."""
    dom, console = opened(path, profile, episodes)
    found = re.findall(r'<pre id="check">(.*?)</pre>', dom)
    return json.loads(found[0]) if found else None, console
