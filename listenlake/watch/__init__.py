"""The live check: consume a stream with the Amazon Kinesis Client and compare what comes with the producer's ledger.

`session.Watch` starts one or more MultiLangDaemons (`daemon`, `workers`) that share the stream's shards by leases in
DynamoDB (`leases`) and start one record processor for each shard (`processor`). Every event that a processor sees
becomes one line in a file of its own under the watch folder (`observations`), before it is checkpointed; so whatever
is killed, an event is seen at least once, and `verification` can count it exactly once.
"""
