"""Device approval: who waits, keys that need none, whether it is asked for. Who is online, with which version."""

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
    op.add_column("nodes", sa.Column("online", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("nodes", sa.Column("cap_version", sa.Integer, nullable=False, server_default="0"))
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
    op.drop_column("nodes", "cap_version")
    op.drop_column("nodes", "online")
    op.drop_column("nodes", "authorized")
