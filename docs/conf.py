"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import tyro.conf
from sphinx.application import Sphinx
from tyro._docstrings import get_field_docstring

import nerfcl
from nerfcl.cli import options

project = "nerfcl"
author = "the nerfcl authors"
copyright = "2026, the nerfcl authors"
version = release = nerfcl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "_generated"]
myst_heading_anchors = 3
smartquotes = False  # flags begin with two hyphens
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

REFERENCE = ("train.py", "train_online.py", "eval.py")


def write_manual(app: Sphinx) -> None:
    """Write what the commands can be told, from the classes and parsers that they read it with."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    commands = {"run": options.Run, "compare": options.Compare, "online": options.Online}
    commands |= {"compare-online": options.CompareOnline, "eval": options.Evaluate, "make-scene": options.MakeScene}
    for name, command in commands.items():
        (folder / f"{name}.md").write_text(manual_of(command), encoding="utf-8")
    root, environment = Path(app.srcdir).parent, {**os.environ, "COLUMNS": "76", "NO_COLOR": "1"}
    for name in REFERENCE:
        program = [sys.executable, str(root / name), "--help"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")


def manual_of(command: type) -> str:
    """A table of a command's options."""
    lines = ["| option | what | default |", "|---|---|---|"]
    hints = get_type_hints(command, include_extras=True)
    for field in fields(command):
        described: Any = next(iter(getattr(hints[field.name], "__metadata__", ())), None)
        if described is tyro.conf.Suppress or field.name == "switched_off":
            continue
        text = getattr(described, "help", None) or get_field_docstring(command, field.name, ()) or ""
        default = (getattr(described, "help_behavior_hint", None) or "").removeprefix("(default: ").removesuffix(")")
        if not default and field.default not in (None, MISSING):
            default = "off" if field.default is False else str(field.default)
        flag = field.name if field.name == "checkpoint" else f"--{field.name.replace('_', '-')}"
        metavar = getattr(described, "metavar", None) or ""
        text = re.sub(r"(--[a-z-]+)", r"`\1`", text)
        lines.append(f"| `{f'{flag} {metavar}'.strip()}` | {text} | {default} |")
    return "\n".join(lines) + "\n"


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("builder-inited", write_manual)
