"""The site in English; `make docs` builds it. docs/zh/conf.py is that of the one in Chinese."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_extensions"))

from shared_conf import *  # noqa: E402, F403

language = "en"
