"""Answers to PutRecords that a fault proxy makes or changes: a throttle, and single entries refused. Pure.

An entry that an answer refuses is taken out of the call before the endpoint sees it, so that what the client is told
is true.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

JSON_TYPE: Final = "application/x-amz-json-1.1"
THROTTLED: Final = "ProvisionedThroughputExceededException"
_TOLD: Final = "Rate exceeded (injected by the fault proxy)."


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Refusal:
    """The entries of one call that are refused.

    Attributes:
        places: Their places in the call, from 0.
        entries: Entries in the call.
        body: The call without them.
    """

    places: frozenset[int]
    entries: int
    body: bytes

    @classmethod
    def choose(cls, body: bytes, choose: Callable[[int], list[int]]) -> Self | None:
        """Take entries out of a call.

        Args:
            body: The call's JSON.
            choose: Returns the places of the entries to refuse, given how many there are.

        Returns:
            None where there are none, or where the body is no PutRecords call.
        """
        try:
            call = json.loads(body)
            entries = call["Records"]
            places = frozenset(choose(len(entries)))
        except (ValueError, KeyError, TypeError):
            return None  # The endpoint says best what is wrong with it.
        if not places:
            return None
        call["Records"] = [entry for place, entry in enumerate(entries) if place not in places]
        return cls(places, len(entries), json.dumps(call).encode())

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is left to hand on."""
        return len(self.places) == self.entries

    def merge(self, answer: Answer | None) -> Answer:
        """Put the refused entries into the endpoint's answer, each in its place.

        Args:
            answer: What the endpoint said to the entries that are left; None when there are none.

        Raises:
            ValueError: The endpoint answered for another number of entries.
        """
        told: dict[str, Any] = (
            json.loads(answer.body) if answer is not None else {"FailedRecordCount": 0, "Records": []}
        )
        if len(told["Records"]) != self.entries - len(self.places):
            raise ValueError(f"{self.entries - len(self.places)} entries sent, {len(told['Records'])} answered")
        answered = iter(told["Records"])
        refused = {"ErrorCode": THROTTLED, "ErrorMessage": _TOLD}
        told["Records"] = [refused if place in self.places else next(answered) for place in range(self.entries)]
        told["FailedRecordCount"] = told.get("FailedRecordCount", 0) + len(self.places)
        headers = answer.headers if answer is not None else [("Content-Type", JSON_TYPE)]
        return Answer(HTTPStatus.OK, headers, json.dumps(told).encode())


def error_answer(code: str, message: str = _TOLD) -> Answer:
    """Return an error as Kinesis words it."""
    body = json.dumps({"__type": code, "message": message}).encode()
    return Answer(HTTPStatus.BAD_REQUEST, [("Content-Type", JSON_TYPE)], body)
