"""Injected trouble: a loopback fault proxy in front of a plain-HTTP Kinesis endpoint, for load tests and for tests.

Throttles, refused entries and lost answers meet PutRecords only; in an outage every request is cut off. All else passes
through untouched.
"""

from producers.chaos.plan import Chaos, ChaosCounts, Outage
from producers.chaos.proxy import ChaosProxy

__all__ = ["Chaos", "ChaosCounts", "ChaosProxy", "Outage"]
