"""Tables through pdfLaTeX."""

import re
import shutil
import subprocess

import pytest

needs_tex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex, a TeX engine")


def compile_table(table, folder):
    """Compile a document of one table with the packages that it names; return what TeX says."""
    packages = re.match(r"% needs (\\usepackage\{.+\})\n", table).group(1)
    text = f"\\documentclass{{article}}{packages}\\begin{{document}}\n{table}\\end{{document}}"
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout
