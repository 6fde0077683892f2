"""The environments of what runs on the local cloud: built from a short list of the host's variables, never all.

Endpoints and keys reach jobs, Lambda and clients by environment alone; no code asks where it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lakehouse.settings import Places
from local_cloud.options import HOST, REGION, CloudOptions

if TYPE_CHECKING:
    from local_cloud.state import CloudRecord, State
    from local_cloud.toolchain import Toolchain

ACCESS_KEY: Final = "test"
KEPT: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
SYSTEM_BUNDLES: Final = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def host_environment() -> Mapping[str, str]:
    """Return the variables of this process; the one place where `local_cloud` reads them."""
    return os.environ


def base_environment(host: Mapping[str, str]) -> dict[str, str]:
    """Return what any child process needs of the host; the project's own tools come first in PATH."""
    kept = {name: host[name] for name in KEPT if name in host}
    tools = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join([tools, kept.get("PATH", os.defpath)])
    return kept


def tls_environment(host: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make Node and Python trust what the machine trusts."""
    trusted = {name: host[name] for name in CERTIFICATES if name in host}
    bundle = next((path for path in SYSTEM_BUNDLES if path.exists()), None)
    if "NODE_EXTRA_CA_CERTS" not in trusted:
        if "SSL_CERT_FILE" in trusted:
            trusted["NODE_EXTRA_CA_CERTS"] = trusted["SSL_CERT_FILE"]
        elif bundle is not None:
            trusted["NODE_EXTRA_CA_CERTS"] = str(bundle)
    return trusted


def aws_environment(*, endpoint: str, glue_endpoint: str, configuration: Path) -> dict[str, str]:
    """Return the variables that point every AWS client to the local cloud and away from the user's account."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_GLUE": glue_endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(configuration),
        "AWS_SHARED_CREDENTIALS_FILE": str(configuration),
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }


def spark_environment(folder: Path, tools: Toolchain) -> dict[str, str]:
    """Return the variables of every Spark session that `write_spark_conf` has configured in `folder`."""
    return {
        "JAVA_HOME": str(tools.java_home),
        "SPARK_HOME": str(tools.spark_home),
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": HOST,
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # Arrow would give memory back to the machine after milliseconds, and ask for it again for the next batch.
        "MIMALLOC_PURGE_DELAY": "-1",
    }


def cloud_environment(state: State, record: CloudRecord, tools: Toolchain) -> dict[str, str]:
    """Return everything a job, a client or a shell needs to talk to this cloud."""
    aws = aws_environment(
        endpoint=record.endpoint, glue_endpoint=record.glue_endpoint, configuration=state.aws_configuration
    )
    return aws | spark_environment(state.spark, tools) | places(record.options).to_environment()


def places(options: CloudOptions) -> Places:
    """Return the names of this cloud's resources."""
    return Places.with_prefix(options.prefix)
