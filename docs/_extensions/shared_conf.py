"""What docs/conf.py and docs/zh/conf.py have in common."""

import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
# the kernels of lessons import this checkout, too
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("NPR_BACKEND", "numpy")

from jupyter_cache import get_cache  # noqa: E402

import npr  # noqa: E402

# A build that succeeds prints nothing: not which lessons it runs, nor that what kernels send is not
# encrypted. In a profile of their own, kernels do not read that of the user.
logging.getLogger("traitlets").setLevel(logging.ERROR)
kernels = ROOT / "build" / "ipython" / "profile_default"
kernels.mkdir(parents=True, exist_ok=True)
(kernels / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 'ERROR'\n")
os.environ["IPYTHONDIR"] = str(kernels.parent)

project = "npr"
author = "The npr developers"
copyright = "The npr developers"
version = release = npr.__version__

extensions = [
    "myst_nb", "sphinx.ext.autodoc", "mathml", "source_pages", "languages", "docstrings",
    "package_map", "side_by_side", "settings_table", "quick_facts", "learning_curves",
    "reference", "ipynb",
]  # fmt: skip
exclude_patterns = ["_*", "zh"]
default_role = "py:obj"
smartquotes = False  # they would also change code in docstrings

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "jupyter_cache")
get_cache(nb_execution_cache_path).list_cache_records()  # two processes cannot make it at once
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = "furo"
html_title = "npr"
html_math_renderer = "mathml"
html_static_path = [str(ROOT / "docs" / "_static")]
templates_path = [str(ROOT / "docs" / "_templates")]
html_css_files = ["npr.css"]
template_bridge = "languages.Templates"
html_use_index = False
html_domain_indices = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0a5c8f", "color-brand-content": "#0a5c8f"},
    "dark_css_variables": {"color-brand-primary": "#6cb8e6", "color-brand-content": "#6cb8e6"},
}
html_sidebars = {
    "**": [
        "sidebar/brand.html", "sidebar/language.html", "sidebar/search.html",
        "sidebar/scroll-start.html", "sidebar/navigation.html", "sidebar/scroll-end.html",
    ]
}  # fmt: skip
