"""What the laptop's emulator leaves out is in the template all the same."""

from typing import Any

import pytest

from local_cloud.emulator_gaps import GAPS, EmulatorGap, describe_gaps


def values_of(value: Any, path: list[str]) -> list[Any]:
    """Return what lies at the end of a path, through every element of a list on the way."""
    if isinstance(value, list):
        return [found for element in value for found in values_of(element, path)]
    if not path:
        return [value]
    return values_of(value[path[0]], path[1:]) if path[0] in value else []


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.what)
def test_the_template_declares_what_the_emulator_leaves_out(
    resources: dict[str, dict[str, Any]], gap: EmulatorGap
) -> None:
    assert gap.declared
    for kind, path in gap.declared:
        found = [{**value, **value["Properties"]} for value in resources.values() if value["Type"] == kind]
        assert [value for value in found if any(values_of(value, path.split(".")))], (kind, path)


def test_each_gap_says_what_happens_instead() -> None:
    assert len(describe_gaps()) == len({gap.what for gap in GAPS})
    assert all(": " in line for line in describe_gaps())
