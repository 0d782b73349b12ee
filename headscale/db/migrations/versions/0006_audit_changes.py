"""What each act of an administrator changed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_events", sa.Column("changes", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("audit_events", "changes")
