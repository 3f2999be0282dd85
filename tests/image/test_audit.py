"""The audit of the dependencies: what could not be asked about never passes for harmless."""

from typing import Any

import pytest

from tools.audit import COULD_NOT_ASK, verdict

ASKED = {"name": "h11", "version": "0.16.0", "vulns": []}
UNASKED = {
    "name": "botocore",
    "skip_reason": "Dependency not found on PyPI and could not be audited: botocore (1.44.5)",
}
VULNERABLE = {
    "name": "urllib3",
    "version": "2.0.0",
    "vulns": [{"id": "CVE-2026-1", "fix_versions": ["2.0.1", "1.26.99"]}, {"id": "CVE-2026-2", "fix_versions": []}],
}


@pytest.mark.parametrize(
    "packages, code",
    [
        ([ASKED], 0),
        ([ASKED, VULNERABLE], 1),
        ([ASKED, UNASKED], COULD_NOT_ASK),
        ([UNASKED, VULNERABLE], 1),
        ([], COULD_NOT_ASK),
    ],
)
def test_verdict(packages: list[dict[str, Any]], code: int) -> None:
    """0 takes an answer for every package; a known vulnerability counts for more than a missing answer."""
    assert verdict({"dependencies": packages})[0] == code


def test_lines() -> None:
    """Each vulnerability is named with the versions that mend it, and each package that was not asked about."""
    assert verdict({"dependencies": [UNASKED, VULNERABLE, ASKED]})[1] == [
        "VULNERABLE: urllib3 2.0.0: CVE-2026-1, fixed in 2.0.1, 1.26.99",
        "VULNERABLE: urllib3 2.0.0: CVE-2026-2, fixed in no version yet",
        f"not asked about: botocore: {UNASKED['skip_reason']}",
    ]
