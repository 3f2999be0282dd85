"""What the log shows of AWS's errors."""

from typing import Any

import pytest
from botocore import exceptions

from task_helper.ecs import client

WITHOUT = "an error without a code"


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"Error": {"Code": "ThrottlingException"}}, "ThrottlingException"),
        ({"Error": {"Code": "x" * 64}}, "x" * 64),
        ({"Error": {"Code": "x" * 65}}, WITHOUT),
        ({"Error": {"Code": "token=secret"}}, WITHOUT),
        ({"Error": {"Code": "Übergröße"}}, WITHOUT),
        ({"Error": {"Code": ""}}, WITHOUT),
        ({"Error": {}}, WITHOUT),
        ({}, WITHOUT),
    ],
)
def test_code_of_an_error(response: dict[str, Any], code: str) -> None:
    """An error's code is shown only if it looks like one: another program than AWS may have answered."""

    def describe_tasks() -> dict[str, Any]:
        raise exceptions.ClientError(response, "DescribeTasks")

    with pytest.raises(OSError, match=f"^DescribeTasks: {code}$"):
        client.ask(describe_tasks, dict)
