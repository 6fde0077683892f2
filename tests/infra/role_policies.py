"""What a role of the template may do: its statements, with names filled in, evaluated as IAM does for one request.

A request is allowed when a statement allows its action on its resource under conditions that hold, and none denies it.
Only what these policies use is known; anything else is an error and never a guess.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-central-1"
# By a property that names the resource, or else by its logical id.
ARNS = {
    "AWS::DynamoDB::GlobalTable": "arn:aws:dynamodb:{region}:{account}:table/{TableName}",
    "AWS::Kinesis::Stream": "arn:aws:kinesis:{region}:{account}:stream/{Name}",
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{id}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{id}",
    "AWS::S3::Bucket": "arn:aws:s3:::{BucketName}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{id}",
}
# The roles, by how their logical ids begin.
INGEST, TRANSFORM, KPI, TRIGGER = "JobsIngestRole", "JobsTransformRole", "JobsKpiRole", "TriggerRole"
ROLES = (INGEST, TRANSFORM, KPI, TRIGGER)


@dataclass(frozen=True)
class Request:
    """One call as IAM sees it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policies:
    """The statements of each role of some templates, placed in an account and a region."""

    templates: Mapping[str, Mapping[str, Any]]
    account: str = ACCOUNT
    region: str = REGION

    def allows(self, role: str, request: Request) -> bool:
        """Tell whether the role whose logical id begins with `role` may make the request."""
        matching = [statement for statement in self.statements(role) if self._matches(statement, request)]
        return bool(matching) and all(statement["Effect"] == "Allow" for statement in matching)

    def uncalled(self, role: str, requests: Iterable[Request]) -> list[tuple[str, str]]:
        """Return each action of each statement, with its first resource, without which every request is allowed."""
        called = list(requests)
        statements = self.statements(role)
        found = []
        for number, statement in enumerate(statements):
            others = statements[:number] + statements[number + 1 :]
            alone = [one for one in called if not any(self._matches(other, one) for other in others)]
            found += [
                (action, self.text(_listed(statement["Resource"])[0]))
                for action in _listed(statement["Action"])
                if not any(self._matches({**statement, "Action": action}, one) for one in alone)
            ]
        return found

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
            case {"Ref": name} if name in self._pseudo:
                return self._pseudo[name]
            case {"Fn::Join": [separator, parts]}:
                return str(separator).join(self.text(part) for part in parts)
            case {"Fn::Sub": template}:
                return re.sub(r"\$\{(.*?)\}", lambda found: self._pseudo[found[1]], template)
            case {"Fn::ImportValue": name}:
                stack, _, output = name.partition(":")
                return self.text(self.templates[stack]["Outputs"][output]["Value"])
            case {"Fn::GetAtt": [name, "Arn"]}:
                return self._arn(name)
        raise NotImplementedError(value)

    def _arn(self, name: str) -> str:
        (resource,) = (t["Resources"][name] for t in self.templates.values() if name in t["Resources"])
        placed = {"account": self.account, "region": self.region, "id": name, **resource.get("Properties", {})}
        return ARNS[resource["Type"]].format(**placed)

    @property
    def _pseudo(self) -> dict[str, str]:
        return {"AWS::Partition": "aws", "AWS::Region": self.region, "AWS::AccountId": self.account}


def _conditions(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            yield operator, key, wanted


def _glob(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
