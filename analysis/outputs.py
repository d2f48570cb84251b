"""Files that the analysis writes. Nothing but a plain file is replaced, and a refusal names the output."""

from pathlib import Path


def check(path: Path, output: Path) -> None:
    """ValueError where a link, a pipe, a device or a folder lies in the place of a file. output: the setting."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no plain file"
        raise ValueError(f"output={output}: {path} is {kind}, and nothing is written in its place")


def check_all(folder: Path) -> None:
    """Check all that lies in the folder of a report, as `check` does."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            check(path, folder)


def folder_for(output: Path, folder: Path) -> None:
    """Make a folder and those above it. ValueError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output={output}: {folder} cannot be made: {error.strerror}") from None


def file_for(output: Path) -> Path:
    """The output itself, which may now be written. Raises ValueError as the functions above do."""
    folder_for(output, output.parent)
    check(output, output)
    return output
