"""Whoever is woken by an alarm finds its paragraph."""

import re
from collections.abc import Callable
from typing import Any

from infra.configuration import PROJECT

Find = Callable[[str], dict[str, dict[str, Any]]]


def test_every_alarm_has_its_row_in_the_runbook_and_none_is_left_over(find: Find) -> None:
    runbook = (
        (PROJECT / "docs" / "operations.md").read_text().partition("## Alarms")[2].partition("The function logs")[0]
    )
    described = {name for row in re.findall(r"^\| (`.*?) \|", runbook, re.M) for name in re.findall("`(.*?)`", row)}
    alarms = find("AWS::CloudWatch::Alarm").values()
    named = {re.findall(r"docs/operations\.md, (.*)\.", alarm["AlarmDescription"])[0] for alarm in alarms}
    assert described == named
