"""Resolvers of nodes behind which there is a plain WireGuard server."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("nodes", sa.Column("exit_dns", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("nodes", "exit_dns")
