"""Places Listenlake on a laptop: an AWS emulator, a Glue endpoint that really runs jobs, and the stack of `infra`.

from local_cloud import lifecycle

cloud = lifecycle.up(Path(".listenlake"), port=None, on_progress=print)
cloud.client("s3").list_buckets()
cloud.close()
"""
