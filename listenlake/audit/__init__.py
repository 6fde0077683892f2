"""`listenlake audit`: is every acknowledged listen in each stage exactly once? Names stage and minute that are wrong.

Counts and sums of 64-bit id hashes are compared per minute of `listen_time`, from one stage to the next; the KPIs are
daily, so they are compared per date and genre. And each event has one outcome: received = accepted + duplicate +
rejected. No Spark: DuckDB over the files that manifests and Delta logs name.
"""

from listenlake.audit.account import Account
from listenlake.audit.audit import audit
from listenlake.audit.report import AuditReport, Finding

__all__ = ["Account", "AuditReport", "Finding", "audit"]
