"""What a role of the template may do: its statements, with names filled in, evaluated as IAM does for one request.

A request is allowed when a statement allows its action on its resource under conditions that hold, and none denies it.
Only what these policies use is known; anything else is an error and never a guess.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-central-1"
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
# By a property that names the resource, or else by its logical id.
ARNS = {
    "AWS::DynamoDB::GlobalTable": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{TableName}}",
    "AWS::Kinesis::Stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{{Name}}",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{id}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{id}}",
    "AWS::S3::Bucket": "arn:aws:s3:::{BucketName}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{id}}",
}


@dataclass(frozen=True)
class Request:
    """One call as IAM sees it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policies:
    """The statements of each role of some templates."""

    templates: Mapping[str, Mapping[str, Any]]

    def allows(self, role: str, request: Request) -> bool:
        """Tell whether the role whose logical id begins with `role` may make the request."""
        matching = [statement for statement in self.statements(role) if self._matches(statement, request)]
        return bool(matching) and all(statement["Effect"] == "Allow" for statement in matching)

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Return the role's statements."""
        found = [
            statement
            for template in self.templates.values()
            for resource in template["Resources"].values()
            if resource["Type"] == "AWS::IAM::Policy"
            and any(reference["Ref"].startswith(role) for reference in resource["Properties"]["Roles"])
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]
        ]
        assert found, f"no policy of {role}"
        return found

    def _matches(self, statement: Mapping[str, Any], request: Request) -> bool:
        assert statement.keys() <= {"Action", "Effect", "Resource", "Condition", "Sid"}
        return (
            any(_glob(pattern.lower(), request.action.lower()) for pattern in _listed(statement["Action"]))
            and any(_glob(self.text(pattern), request.resource) for pattern in _listed(statement["Resource"]))
            and all(self._holds(*condition, request) for condition in _conditions(statement.get("Condition", {})))
        )

    def _holds(self, operator: str, key: str, wanted: Any, request: Request) -> bool:
        found = request.context.get(key)
        values = [self.text(value) for value in _listed(wanted)]
        if operator == "StringEquals":
            return found in values
        if operator == "StringLike":
            return found is not None and any(_glob(value, found) for value in values)
        raise NotImplementedError(operator)

    def text(self, value: Any) -> str:
        """Fill in what CloudFormation would."""
        match value:
            case str():
                return value
            case {"Ref": name} if name in PSEUDO:
                return PSEUDO[name]
            case {"Fn::Join": [separator, parts]}:
                return str(separator).join(self.text(part) for part in parts)
            case {"Fn::Sub": template}:
                return re.sub(r"\$\{(.*?)\}", lambda found: PSEUDO[found[1]], template)
            case {"Fn::ImportValue": name}:
                stack, _, output = name.partition(":")
                return self.text(self.templates[stack]["Outputs"][output]["Value"])
            case {"Fn::GetAtt": [name, "Arn"]}:
                return self._arn(name)
        raise NotImplementedError(value)

    def _arn(self, name: str) -> str:
        (resource,) = (t["Resources"][name] for t in self.templates.values() if name in t["Resources"])
        return ARNS[resource["Type"]].format(**{"id": name, **resource.get("Properties", {})})


def _conditions(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            yield operator, key, wanted


def _glob(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
