"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import builtins
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
from sphinx.application import Sphinx

import factorgraph

matplotlib.use("Agg")
HERE = Path(__file__).parent

sys.path[:0] = [str(HERE / "extensions"), str(HERE / "pictures")]

project = "factorgraph"
author = "The factorgraph developers"
copyright = "the factorgraph developers"
version = release = factorgraph.__version__

extensions = [
    "myst_parser",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "mathml",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_static"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "factorgraph"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": []}
html_show_sourcelink = False

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

# A name in single backticks in a docstring is a link where there is such an object, else code.
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def escape_shapes(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Let a shape such as (*param_shape, V) stand in a docstring as it is: to Sphinx a star begins emphasis."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"(?<=[(\s])\*(?=\w)", r"\\*", part) for part in parts[::2]]
        lines[number] = "``".join(parts)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escape_shapes, priority=900)


# Examples run in a copy of their folder, so that the pictures they save do not lie beside them.
EXAMPLES = HERE / "_build" / "examples"
shutil.rmtree(EXAMPLES, ignore_errors=True)
shutil.copytree(HERE.parent / "examples", EXAMPLES, ignore=shutil.ignore_patterns("*.png", "__pycache__"))


def name_file(_: dict[str, object], path: str) -> None:
    """Let an example find what lies beside it by `__file__`, which sphinx-gallery does not set."""
    builtins.__file__ = str(EXAMPLES / Path(path).name)


sphinx_gallery_conf = {
    "examples_dirs": "_build/examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "nested_sections": False,
    "write_computation_times": False,
    "reset_modules": ("matplotlib", name_file),
}
exclude_patterns += ["_build/examples"]
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")

# What each command says of itself.
HELP = HERE / "reference" / "generated"
HELP.mkdir(parents=True, exist_ok=True)
for command in (
    "factorgraph infer", "factorgraph info", "nets train", "nets evaluate", "nets predict", "nets export", "nets download",
    "nets reproduce",
):  # fmt: skip
    module, verb = command.split()
    shown = subprocess.run(
        [sys.executable, "-m", module, verb, "--help"],
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    (HELP / f"{module}_{verb}.txt").write_text(shown.stdout, encoding="utf-8")

# Pictures of the background pages are drawn when the site is built.
plot_basedir = str(HERE)
plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 160)]
