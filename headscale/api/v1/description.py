"""/api/v1/openapi.json and .yaml"""

from typing import Final

from headscale.api.description import Description
from headscale.api.problems import PROBLEM_TYPE, Problem
from headscale.api.v1.operations import OPERATIONS, Unauthorized

DESCRIPTION: Final = Description(
    base="/api/v1",
    operations=OPERATIONS,
    schemes=("bearer",),
    problem=Problem,
    refusal=Unauthorized,
    problem_type=PROBLEM_TYPE,
    ids={"id": "^[1-9][0-9]{0,18}$"},
)
