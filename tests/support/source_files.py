"""The source files of the package."""

from support import ROOT

PACKAGE = ROOT / "npr"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_path(path):
    """npr/kernels/jit.py -> ("kernels", "jit");  npr/kernels/__init__.py -> ("kernels",)"""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts
