"""Places Listenlake on AWS: a CDK app whose names, tables and job arguments come from `lakehouse`."""

from infra.node import provide_node

# Before any module of this package imports `aws_cdk`, which starts Node at once.
provide_node()
