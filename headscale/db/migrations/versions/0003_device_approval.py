"""Device approval: nodes that wait for it, keys that need none, and whether administrators ask for it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    # Who is in already stays in.
    op.add_column("nodes", sa.Column("authorized", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column(
        "pre_auth_keys", sa.Column("preauthorized", sa.Boolean, nullable=False, server_default=sa.false())
    )
    preferences = op.create_table(
        "preferences",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("device_approval", sa.Boolean, nullable=False),
    )
    op.bulk_insert(preferences, [{"id": 1, "device_approval": False}])


def downgrade() -> None:
    op.drop_table("preferences")
    op.drop_column("pre_auth_keys", "preauthorized")
    op.drop_column("nodes", "authorized")
