"""The audit log, and what nodes say of their devices."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("told_at", TIME),
    )
    op.add_column("nodes", sa.Column("attributes", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("nodes", "attributes")
    op.drop_table("audit_events")
