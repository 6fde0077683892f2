"""What set-up chooses and refuses, with made-up tools in temporary folders."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from local_cloud import java as java_module
from local_cloud import toolchain as toolchain_module
from local_cloud.environment import base_environment, tls_environment
from local_cloud.errors import ToolMissingError
from local_cloud.jars import describe, prepare_jars
from local_cloud.java import WRAPPER, Java, find_java
from local_cloud.options import CloudOptions
from local_cloud.spark_conf import write_spark_conf
from local_cloud.spark_home import link_spark_home
from local_cloud.toolchain import Toolchain


def fake_java(folder: Path, version: str) -> Path:
    """Write a `java` that claims to be of `version`, and return its home."""
    executable = folder / "bin" / "java"
    executable.parent.mkdir(parents=True)
    shown = f"    java.home = {folder}\n    java.specification.version = {version}\n"
    executable.write_text(f"#!/bin/sh\ncat >&2 <<END\n{shown}END\n")
    executable.chmod(0o755)
    return folder


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    home, other = fake_java(tmp_path / "a", "21"), fake_java(tmp_path / "b", "17")
    host = {"JAVA_HOME": str(home), "PATH": f"{other / 'bin'}:/bin:/usr/bin"}
    assert find_java(host, tmp_path) == Java(home, "21")
    assert find_java({"PATH": host["PATH"]}, tmp_path) == Java(other, "17")


def test_a_java_that_spark_does_not_run_on_is_passed_over(tmp_path: Path) -> None:
    home, other = fake_java(tmp_path / "a", "11"), fake_java(tmp_path / "b", "17")
    host = {"JAVA_HOME": str(home), "PATH": f"{other / 'bin'}:/bin:/usr/bin"}
    assert find_java(host, tmp_path) == Java(other, "17")


def test_without_a_java_the_wheels_is_wrapped(tmp_path: Path) -> None:
    found = find_java({"PATH": ""}, tmp_path)
    assert (found.home, found.version, found.bundled) == (tmp_path / "java", "17", True)
    command = [str(found.home / "bin" / "java"), "--add-modules=jdk.incubator.vector", "-version"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_neither_java_nor_wheel_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_module, "_wrap_wheel", lambda _home: None)
    home = fake_java(tmp_path / "a", "11")
    with pytest.raises(ToolMissingError, match=r"expected Java 17 or 21.*found Java 11 at .*Install a Java 17"):
        find_java({"JAVA_HOME": str(home), "PATH": ""}, tmp_path)


def test_the_wrapper_drops_one_word_and_keeps_the_rest(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text('#!/bin/sh\nfor word do printf "[%s]" "$word"; done\n')
    wrapper = tmp_path / "java"
    wrapper.write_text(WRAPPER.format(java=real))
    for script in (real, wrapper):
        script.chmod(0o755)
    words = ["-Da=b c", "--add-modules=jdk.incubator.vector", "", "*", "-cp", "x y"]
    shown = subprocess.run([wrapper, *words], capture_output=True, text=True, check=True).stdout
    assert shown == "[-Da=b c][][*][-cp][x y]"


def test_jars_are_described_as_sha256sum_does(tmp_path: Path) -> None:
    (tmp_path / "b.jar").write_bytes(b"two")
    (tmp_path / "a.jar").write_bytes(b"one")
    (tmp_path / "notes.txt").write_bytes(b"no jar")
    lines = [f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in (("a.jar", b"one"), ("b.jar", b"two"))]
    assert describe(tmp_path) == "".join(lines)


def test_jars_that_are_not_the_locked_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ivy, lock, kept = tmp_path / "ivy", tmp_path / "jars.lock", tmp_path / "jars"
    (ivy / "jars").mkdir(parents=True)
    (ivy / "jars" / "a.jar").write_bytes(b"one")
    lock.write_text(describe(ivy / "jars"))
    some_java = Java(tmp_path, "17")
    assert prepare_jars(kept, lock=lock, ivy=ivy, java=some_java, host={}) == "resolved"
    assert prepare_jars(kept, lock=lock, ivy=ivy, java=some_java, host={}) == "as locked"
    for folder in (ivy / "jars", kept):
        (folder / "a.jar").write_bytes(b"tampered")
    monkeypatch.setattr("local_cloud.jars.resolve", lambda *_args, **_options: None)
    with pytest.raises(ToolMissingError, match=r"differences in a\.jar"):
        prepare_jars(kept, lock=lock, ivy=ivy, java=some_java, host={})


def test_a_toolchain_that_was_never_set_up_or_has_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="make setup"):
        Toolchain.load(tmp_path)
    home = fake_java(tmp_path / "java", "17")
    link_spark_home(spark := tmp_path / "spark")
    executable = home / "bin" / "java"
    tools = Toolchain(java_home=home, spark_home=spark, jars=tmp_path, node=executable, cdk=executable)
    tools.save(tmp_path)
    assert Toolchain.load(tmp_path) == tools
    executable.unlink()
    with pytest.raises(ToolMissingError, match=r"Java at .*found nothing there"):
        Toolchain.load(tmp_path)
    (tmp_path / toolchain_module.RECORD).write_text(json.dumps({"java_home": "/x"}))
    with pytest.raises(ToolMissingError, match="make setup"):
        Toolchain.load(tmp_path)


def test_child_processes_get_a_short_list_of_variables() -> None:
    host = {"HOME": "/h", "PATH": "/bin", "AWS_PROFILE": "work", "PYTHONPATH": "/x", "SPARK_HOME": "/s"}
    kept = base_environment(host)
    assert kept.keys() == {"HOME", "PATH"}
    assert kept["PATH"].endswith(":/bin")


@pytest.mark.parametrize(
    ("host", "expected"),
    [({"NODE_EXTRA_CA_CERTS": "/n", "SSL_CERT_FILE": "/s"}, "/n"), ({"SSL_CERT_FILE": "/s"}, "/s")],
)
def test_node_trusts_what_the_machine_was_told_to_trust(host: dict[str, str], expected: str) -> None:
    assert tls_environment(host)["NODE_EXTRA_CA_CERTS"] == expected


def test_spark_is_configured_by_one_file(tmp_path: Path) -> None:
    options = CloudOptions(spark_master="local[4]", driver_memory="3g")
    conf = write_spark_conf(tmp_path, endpoint="http://127.0.0.1:4", jars=Path("/jars"), options=options)
    lines = (conf / "spark-defaults.conf").read_text().splitlines()
    values = dict(line.split(" ", 1) for line in lines)
    assert values["spark.master"] == "local[4]"
    assert values["spark.driver.memory"] == "3g"
    assert values["spark.driver.extraClassPath"] == "/jars/*"
    assert values["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:4"
    assert "-Xss8m" in values["spark.driver.extraJavaOptions"]
    assert (conf / "log4j2.properties").exists()
