"""The tools beside Python that set-up has prepared (`local_cloud.setup`): Java, the jars, Node and the CDK."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from local_cloud.errors import ToolMissingError

RECORD: Final = "toolchain.json"


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """Where the tools are.

    Attributes:
        java_home: A Java 17 or 21.
        spark_home: What starts Spark, and Spark's own jars.
        jars: Folder of the jars that Spark needs for Delta and S3.
        node: The Node executable.
        cdk: The CDK's command-line script.
    """

    java_home: Path
    spark_home: Path
    jars: Path
    node: Path
    cdk: Path

    def save(self, folder: Path) -> None:
        """Record the tools in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {name: str(path) for name, path in asdict(self).items()}
        (folder / RECORD).write_text(json.dumps(values, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the tools recorded in `folder`.

        Raises:
            ToolMissingError: Nothing was recorded, or a tool has gone since.
        """
        try:
            values = json.loads((folder / RECORD).read_text())
            tools = cls(**{name: Path(value) for name, value in values.items()})
        except (FileNotFoundError, ValueError, TypeError):
            raise ToolMissingError(
                expected=f"the tools that set-up records in {folder / RECORD}",
                found="none",
                do="Run `make setup` in the project's folder.",
            ) from None
        for name, path in (
            ("Java", tools.java_home / "bin" / "java"),
            ("Spark", tools.spark_home / "bin" / "spark-submit"),
            ("the jars", tools.jars),
            ("Node", tools.node),
            ("the CDK", tools.cdk),
        ):
            if not path.exists():
                raise ToolMissingError(
                    expected=f"{name} at {path}", found="nothing there", do="Run `make setup` in the project's folder."
                )
        return tools
