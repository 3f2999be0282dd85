"""Asks whether a vulnerability is known in any of the requirements: python tools/audit.py requirements.txt

Exit code 0: every package was asked about, and none has one. 1: some have. 75: some could not be asked about, which
must not pass for "none": pip-audit reports a package that its service does not answer for as skipped, and exits 0.
"""

import json
import subprocess  # nosec B404
import sys
from typing import Any

COULD_NOT_ASK = 75


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Judges pip-audit's JSON report: the exit code, and a line for people for each package with something to say."""
    vulnerable, unasked = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unasked.append(f"not asked about: {package['name']}: {package['skip_reason']}")
        for vulnerability in package.get("vulns", ()):
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            vulnerable.append(
                f"VULNERABLE: {package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}"
            )
    code = 1 if vulnerable else COULD_NOT_ASK if unasked or not report["dependencies"] else 0
    return code, vulnerable + unasked


def main(requirements: str) -> int:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--require-hashes", "--disable-pip", "--requirement", requirements]
    # the command has nothing in it from outside
    # what it says to people is not shown: "No known vulnerabilities found", also where it reached no database
    audit = subprocess.run(command, capture_output=True, text=True)  # nosec B603
    if not audit.stdout:
        print(audit.stderr)
        print(f"audit: COULD NOT ASK: pip-audit ended with exit code {audit.returncode} and no report")
        return COULD_NOT_ASK
    report = json.loads(audit.stdout)
    code, lines = verdict(report)
    for line in lines:
        print(line)
    asked = sum("skip_reason" not in package for package in report["dependencies"])
    outcome = {0: "nothing known", 1: "VULNERABLE", COULD_NOT_ASK: "COULD NOT ASK, so nothing is known either way"}[
        code
    ]
    print(f"audit: {outcome} ({asked} of {len(report['dependencies'])} packages of {requirements} asked about)")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
