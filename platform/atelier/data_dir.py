"""The folder that holds everything Atelier writes: database, secrets, sockets, the worker's queue."""

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

# A Unix socket's path may have 103 bytes on macOS and 107 on Linux, our longest file name included.
LONGEST_SOCKET_FOLDER = 70


def default_data_dir(base_dir: Path) -> Path:
    """`.atelier` in the checkout where there is one, else in the home folder (an installed wheel)."""
    return (base_dir if (base_dir / "pyproject.toml").is_file() else Path.home()) / ".atelier"


def make_private(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def socket_dir(data_dir: Path) -> Path:
    """The folder of the data folder's sockets; a short one of its own when the data folder's path is too long."""
    path = data_dir / "run"
    if len(os.fsencode(path)) > LONGEST_SOCKET_FOLDER:
        name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"atelier-{os.getuid()}-{name}"
    return path


def stored_secret(path: Path) -> str:
    """The secret in `path`, made (readable by the owner only) when there is none.

    Two processes that start at once agree: the file is linked into place whole, and the first one wins.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
