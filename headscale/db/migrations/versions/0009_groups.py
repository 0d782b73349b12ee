"""The groups that identity providers count people among, and with what they can be asked again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("groups", sa.Text, nullable=False, server_default="[]"))
    op.add_column("users", sa.Column("sealed_refresh", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("users", "sealed_refresh")
    op.drop_column("users", "groups")
