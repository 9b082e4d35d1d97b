"""The machine and the data folder."""

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from django.conf import settings

from accounts.models import Team
from accounts.quotas.rules import zone_of
from atelier import env
from atelier.doctor.finding import Finding
from gateway.diagnostics import LITTLE_BYTES, SCARCE_BYTES
from inference.models import Model
from inference.sources import SourceError, is_of_hub, load_path

SHORTEST_SECRET = 32


def check_secret_key() -> Finding:
    if env.text("ATELIER_SECRET_KEY"):
        if len(settings.SECRET_KEY) < SHORTEST_SECRET:
            return Finding(
                "fail", f"ATELIER_SECRET_KEY has fewer than {SHORTEST_SECRET} characters and may be guessed.",
                "Choose a long random one. All API keys have to be issued anew then.",
            )  # fmt: skip
        return Finding("pass", "From ATELIER_SECRET_KEY.")
    file = settings.DATA_DIR / "secret_key"
    if not file.is_file():
        return Finding("fail", f"{file} is gone.", "Restore it from a backup: without it every API key is dead.")
    if file.stat().st_mode & 0o077:
        return Finding("fail", f"Others may read {file}.", f"chmod 600 {file}")
    return Finding("pass", "In the data folder. Other hosts on the same database need the same one.")


def check_data_folder() -> Finding:
    folder, state = settings.DATA_DIR, settings.DATA_DIR.stat()
    if state.st_uid != os.getuid():
        return Finding("fail", f"{folder} belongs to another user.", "Run Atelier as its owner, or chown it.")
    if state.st_mode & 0o077:
        return Finding("fail", f"Others may look into {folder}.", f"chmod 700 {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("pass", f"{folder} is private and can be written.")
    except OSError as error:
        return Finding("fail", f"{folder} can't be written: {error.strerror}.", "Mind the disk and its permissions.")


def check_disk() -> Finding:
    usage = shutil.disk_usage(settings.DATA_DIR)
    said = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free where the data folder is."
    if usage.free < LITTLE_BYTES:
        return Finding("fail" if usage.free < SCARCE_BYTES else "warning", said, "Make room.")
    return Finding("pass", said)


def check_debug() -> Finding:
    if settings.DEBUG:
        return Finding("fail", "Debug pages show settings and code to everybody.", "Unset ATELIER_DEBUG.")
    return Finding("pass", "Off.")


def check_time_zones() -> Finding:
    """The platform's is checked when the settings are read."""
    wrong = []
    for team in Team.objects.exclude(time_zone=""):
        try:
            zone_of(team.time_zone)
        except (OSError, ValueError, KeyError):
            wrong.append(str(team))
    if wrong:
        return Finding("fail", f"Unknown here: those of {', '.join(wrong)}.", "Change them, or install tzdata.")
    return Finding("pass", f"{settings.TIME_ZONE}.")


def check_models() -> Finding:
    """Folders, and what was downloaded."""
    missing, served = [], False
    for model in Model.objects.prefetch_related("deployments"):
        if is_of_hub(model.source) and not model.commit:
            # It may just come, or nobody has wanted it yet.
            continue
        try:
            path = Path(load_path(model.source, model.commit))
            readable = os.access(path / "config.json", os.R_OK)
        except SourceError:
            path, readable = Path(model.source), False
        if not readable:
            missing.append(f"{model} ({path})")
            served = served or bool(model.deployments.all())
    if missing:
        advice = "Bring them back, or serve others." if served else "They are not served now; nothing has to be done."
        return Finding("fail" if served else "warning", f"Can't be read: {', '.join(missing)}.", advice)
    return Finding("pass", "The folders of all models can be read.")


def check_openblas() -> Finding:
    if ctypes.util.find_library("openblas"):
        return Finding("pass", "It is there.")
    return Finding(
        "warning", "It is missing: on the CPU models run up to 50 times slower.", "apt install libopenblas0-pthread"
    )


def check_wired_memory() -> Finding:
    """What macOS lets the GPU hold; 0 is its own choice, two thirds to three quarters."""
    limit, total = (
        int(subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True).stdout)
        for name in ("iogpu.wired_limit_mb", "hw.memsize")
    )
    return wired_memory(limit, total >> 20)


def wired_memory(limit: int, total: int) -> Finding:
    """Both in MiB."""
    if not limit:
        return Finding("pass", f"As macOS chooses, of {total / 1024:.0f} GiB.")
    if limit > total * 0.9:
        return Finding(
            "warning", f"The GPU may hold {limit} of {total} MiB; macOS itself may run out.",
            "sudo sysctl iogpu.wired_limit_mb=0, or less than nine tenths.",
        )  # fmt: skip
    return Finding("pass", f"The GPU may hold {limit} of {total} MiB.")


SURROUNDINGS = {
    "secret key": check_secret_key,
    "data folder": check_data_folder,
    "disk": check_disk,
    "debug": check_debug,
    "time zones": check_time_zones,
    "models": check_models,
    **({"OpenBLAS": check_openblas} if sys.platform == "linux" else {"wired memory": check_wired_memory}),
}
