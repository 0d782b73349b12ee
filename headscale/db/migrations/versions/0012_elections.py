"""Who won which route."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    elections = op.create_table(
        "elections",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("held", sa.Text, nullable=False),
    )
    op.bulk_insert(elections, [{"id": 1, "held": "[]"}])


def downgrade() -> None:
    op.drop_table("elections")
