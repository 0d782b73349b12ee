"""What administrators choose where the configuration says nothing: DNS, how long keys live, updates."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("preferences", sa.Column("choices", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("preferences", "choices")
