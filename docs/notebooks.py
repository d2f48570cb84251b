"""Run the tutorials, which are notebooks, and write them as pages of the site. Nothing of Jupyter is needed.

python docs/notebooks.py               # runs docs/tutorials/*.ipynb and keeps their outputs in them
python docs/notebooks.py --pages       # writes their pages from the outputs that they have, as `make docs` does
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "tutorials"
Notebook = dict[str, Any]


def figures() -> list[dict[str, Any]]:
    """The open figures of pyplot as outputs of a cell; closes them."""
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is None:
        return []
    found = []
    for number in plt.get_fignums():
        png = io.BytesIO()
        plt.figure(number).savefig(png, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
        data = {"image/png": base64.b64encode(png.getvalue()).decode()}
        found.append({"output_type": "display_data", "data": data, "metadata": {}})
    plt.close("all")
    return found


def outputs(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell in a namespace. Returns what it prints, the value of an expression at its end, and its figures."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
        value = eval(compile(last, "<cell>", "eval"), names) if last else None
    drawn = figures()
    out: list[dict[str, Any]] = []
    if text := printed.getvalue():
        out.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if value is not None and not (drawn and "matplotlib" in type(value).__module__):
        data = {"text/plain": repr(value)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_()
        out.append({"output_type": "execute_result", "execution_count": None, "data": data, "metadata": {}})
    return out + drawn


def run(notebook: Notebook) -> Notebook:
    """The notebook with the outputs of all its cells, run in order in an empty folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cells = [
            cell | {"outputs": outputs("".join(cell["source"]), names)} if cell["cell_type"] == "code" else cell
            for cell in notebook["cells"]
        ]
    return notebook | {"cells": cells}


def page(notebook: Notebook) -> str:
    """The notebook in markdown, with its figures inside."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": "".join(output.get("text", ""))})
            if "image/png" in data:
                parts.append(f"![A figure that this cell draws](data:image/png;base64,{data['image/png']})")
            elif "text/html" in data:
                parts.append(f'<div class="output" markdown="0">{data["text/html"]}</div>')
            else:
                parts.append(f"```text\n{data['text/plain'].rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> None:
    os.environ["MPLBACKEND"] = "agg"
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        if "--pages" in arguments:
            path.with_suffix(".md").write_text(page(notebook))
        else:
            path.write_text(json.dumps(run(notebook), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
