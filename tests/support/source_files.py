"""The source files of the package."""

import sys

from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
from package_map import PACKAGE as PACKAGE
from package_map import SOURCES as SOURCES
from package_map import module_path as module_path
