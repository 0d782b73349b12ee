"""The roles of users, and API keys that are somebody's; who is there already is a member, and keys are nobody's."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OWNER = sa.text("role = 'owner'")


def upgrade() -> None:
    op.add_column("users", sa.Column("role", sa.String(16), nullable=False, server_default="member"))
    op.create_index(
        "uq_users_owner", "users", ["role"], unique=True, sqlite_where=OWNER, postgresql_where=OWNER
    )
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer, "sqlite")))
        keys.create_foreign_key("fk_api_keys_user_id", "users", ["user_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_constraint("fk_api_keys_user_id", type_="foreignkey")
        keys.drop_column("user_id")
    op.drop_index("uq_users_owner", "users")
    op.drop_column("users", "role")
