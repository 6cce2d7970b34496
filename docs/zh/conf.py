"""The site in Chinese: pages with the same names as those of docs/, where there is one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_extensions"))

from shared_conf import *  # noqa: E402, F403

language = "zh_CN"
