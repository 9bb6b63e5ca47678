"""Fragments that the registry's pods take over as they are: plain dicts here, a helpful schema in the CRD.

The schema has what `kubectl explain` should tell and what server-side apply must know. Kubernetes validates the rest,
when the Deployment is applied; fields that are younger than this file pass through.
"""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Schema of an object that Kubernetes knows better."""

_QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
    "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
}


def _text(description: str, **further: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **further}


def _quantities(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": _QUANTITY}


Affinity = Annotated[dict[str, Any], WithJsonSchema(OPEN)]

TopologySpreadConstraint = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            **OPEN,
            "properties": {
                "maxSkew": {"type": "integer", "format": "int32", "description": "Largest difference allowed."},
                "topologyKey": _text("Label of the nodes that makes the groups."),
                "whenUnsatisfiable": _text("DoNotSchedule or ScheduleAnyway."),
                "labelSelector": {**OPEN, "description": "Which pods are counted."},
            },
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
        }
    ),
]

Toleration = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            **OPEN,
            "properties": {
                "key": _text("Key of the taint; none with the operator Exists: every taint."),
                "operator": _text("Equal (default) or Exists."),
                "value": _text("Value of the taint."),
                "effect": _text("NoSchedule, PreferNoSchedule or NoExecute; none: all of them."),
                "tolerationSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "description": "With NoExecute: how long the pod stays.",
                },
            },
        }
    ),
]

LocalObjectReference = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"name": _text("Name of the Secret, in this namespace.", minLength=1, maxLength=253)},
            "required": ["name"],
        }
    ),
]

EnvironmentVariable = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "name": _text("Name of the variable.", minLength=1, maxLength=256),
                "value": _text("Its value.", maxLength=32768),
                "valueFrom": {**OPEN, "description": "Where its value comes from: a Secret, a ConfigMap, a field."},
            },
            "required": ["name"],
        }
    ),
]

ResourceRequirements = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            **OPEN,
            "properties": {
                "requests": _quantities("What the scheduler reserves."),
                "limits": _quantities("What the container may not exceed."),
            },
        }
    ),
]

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]

Quantity = Annotated[str, Field(min_length=1, max_length=32)]
"""As in 50Gi. Whether it is one is checked in CEL, by Kubernetes' own parser."""

ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of an object (RFC 1123 subdomain)."""
