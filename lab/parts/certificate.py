"""A certificate for TLS between the lab's own programs."""

import subprocess  # nosec B404
from pathlib import Path

COMMAND = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"


def self_signed(folder: Path, *names: str) -> tuple[Path, Path]:
    """The files of a certificate for servers of these `names` and of its key, in `folder`. It is valid for a day.

    Raises FileNotFoundError without the program `openssl`, CalledProcessError where it fails.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in names)}"]
    command = [*COMMAND.split(), *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)  # nosec B603
    return certificate, key
