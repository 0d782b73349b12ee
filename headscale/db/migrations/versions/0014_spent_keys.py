"""When a single-use key was spent."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pre_auth_keys", sa.Column("spent_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("pre_auth_keys", "spent_at")
