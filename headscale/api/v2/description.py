"""/api/v2/openapi.json and .yaml"""

from types import MappingProxyType
from typing import Final

from headscale.api.description import Description
from headscale.api.problems import ErrorAnswer
from headscale.api.v2.endpoints import BASE
from headscale.api.v2.table import ENDPOINTS

DESCRIPTION: Final = Description(
    base=BASE,
    operations=MappingProxyType({(each.method, each.path): each.operation for each in ENDPOINTS}),
    schemes=("basic", "bearer"),
    problem=ErrorAnswer,
    refusal=ErrorAnswer,
    problem_type="application/json",
    ids={"tailnet": "^-$"},
)
