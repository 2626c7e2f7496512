"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

import nerfcl

project = "nerfcl"
author = "the nerfcl authors"
copyright = "2026, the nerfcl authors"
version = release = nerfcl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "_generated"]
myst_heading_anchors = 3
nitpicky = True  # every name that a page links to is here; types of other libraries and of the inside are not
nitpick_ignore_regex = [
    ("py:class", r"(?!nerfcl\.).*"),
    ("py:class", r"nerfcl\.(experiments|jobs|progress|training\.(ema|optimisers)|streams\.sampling)\..*"),
    ("py:class", r"nerfcl\.strategies\.(.*State|teacher\..*)"),
    ("py:class", r"nerfcl\.models\..*(Model|Field)"),
    ("py:class", r"nerfcl\.(config\.streams\.StreamSettings|streams\.stream\.Group|models\.kernels\..*)"),
]

html_theme = "furo"
html_title = f"nerfcl {release}"
html_static_path = ["_static"]
html_css_files = ["nerfcl.css"]
html_show_sphinx = False
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
viewcode_line_numbers = True

COMMANDS = ("run", "compare", "online", "compare-online", "eval", "make-scene")
REFERENCE = ("train.py", "train_online.py", "eval.py")


def write_helps(app: Sphinx) -> None:
    """Write what each command's --help prints, so that the pages cannot differ from it."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    root = Path(app.srcdir).parent
    programs = {name: [sys.executable, "-m", "nerfcl", name] for name in COMMANDS}
    programs |= {name: [sys.executable, str(root / name)] for name in REFERENCE}
    environment = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1"}
    for name, command in programs.items():
        done = subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True, check=True)
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("builder-inited", write_helps)
