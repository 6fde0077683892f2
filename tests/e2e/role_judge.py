"""Evaluates the policies of the pipeline's roles for every call that its jobs and its Lambda make.

A call says who makes it by its access key. The jobs have their names as keys (`local_cloud/glue_driver.py`); to the
Lambda the emulator gives the account's number. Whoever else calls is not judged: the producer, the CDK, the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from lakehouse import layout
from local_cloud.options import ACCOUNT, REGION
from tests.e2e.iam_requests import IamRequests, UnknownCallError
from tests.e2e.loopback_proxy import Call, Fault
from tests.infra.role_policies import INGEST, KPI, TRANSFORM, TRIGGER, Policies, Request

ROLE_OF: Final[Mapping[str, str]] = {
    layout.INGEST_JOB: INGEST,
    layout.TRANSFORM_JOB: TRANSFORM,
    layout.KPI_JOB: KPI,
    ACCOUNT: TRIGGER,
}
DENIED: Final = "AccessDenied"


@dataclass
class RoleJudge:
    """Lets through what the roles may do, and remembers all that was asked.

    Attributes:
        policies: The roles' statements.
        allowed: What each role has asked for and may do, without repetition.
        denied: What was refused, by role.
        unknown: Calls of which nobody has written down what they ask of IAM; they are refused too.
    """

    policies: Policies
    allowed: dict[str, list[Request]] = field(default_factory=lambda: {role: [] for role in ROLE_OF.values()})
    denied: list[tuple[str, Request]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    _requests: IamRequests = field(default_factory=lambda: IamRequests(ACCOUNT, REGION))
    _verdicts: dict[str, bool] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def intervene(self, call: Call) -> Fault | None:
        """Refuse what the caller's role may not do."""
        role = ROLE_OF.get(_access_key(call))
        if role is None:
            return None
        with self._lock:
            try:
                asked = self._requests.of(call)
            except UnknownCallError as error:
                self.unknown.append((role, str(error)))
                return _refusal(call)
            verdicts = [self._judge(role, request) for request in asked]
        return None if all(verdicts) else _refusal(call)

    def hear(self, call: Call, answer: bytes) -> None:
        """Learn from an answer."""
        if _access_key(call) in ROLE_OF:
            with self._lock:
                self._requests.hear(call, answer)

    def _judge(self, role: str, request: Request) -> bool:
        seen = f"{role} {request}"
        if seen not in self._verdicts:
            self._verdicts[seen] = self.policies.allows(role, request)
            if self._verdicts[seen]:
                self.allowed[role].append(request)
            else:
                self.denied.append((role, request))
        return self._verdicts[seen]


def _access_key(call: Call) -> str:
    found = re.search(r"Credential=([^/]+)/", call.headers.get("authorization", ""))
    return found[1] if found else ""


def _refusal(call: Call) -> Fault:
    """AWS's own answer: of S3 in XML, of the others in JSON."""
    if call.target:
        body = json.dumps({"__type": f"{DENIED}Exception", "message": "refused by the role's policies"}).encode()
        return Fault(DENIED, 400, body, "application/x-amz-json-1.1")
    return Fault(DENIED, 403, f"<Error><Code>{DENIED}</Code><Message>by policy</Message></Error>".encode())
