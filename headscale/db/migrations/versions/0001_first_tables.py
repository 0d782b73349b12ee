"""The first tables: users, pre-auth keys, nodes, counters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_identifier", sa.Text, unique=True),
        sa.Column("profile_pic_url", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index(
        "uq_users_local_name",
        "users",
        ["name"],
        unique=True,
        sqlite_where=sa.text("provider_identifier IS NULL"),
        postgresql_where=sa.text("provider_identifier IS NULL"),
    )
    op.create_table(
        "pre_auth_keys",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("prefix", sa.String(12), nullable=False, unique=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("user_id", ID, sa.ForeignKey("users.id")),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("reusable", sa.Boolean, nullable=False),
        sa.Column("ephemeral", sa.Boolean, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
        sa.Column("expiration", TIME),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("machine_key", sa.String(69), nullable=False),
        sa.Column("node_key", sa.String(72), nullable=False, unique=True),
        sa.Column("disco_key", sa.String(73), nullable=False),
        sa.Column("hostname", sa.Text, nullable=False),
        sa.Column("given_name", sa.String(63), nullable=False, unique=True),
        sa.Column("ipv4", sa.String(15), unique=True),
        sa.Column("ipv6", sa.String(39), unique=True),
        sa.Column("user_id", ID, sa.ForeignKey("users.id")),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("hostinfo", sa.Text, nullable=False),
        sa.Column("endpoints", sa.Text, nullable=False),
        sa.Column("ephemeral", sa.Boolean, nullable=False),
        sa.Column("register_method", sa.String(16), nullable=False),
        sa.Column("auth_key_id", ID, sa.ForeignKey("pre_auth_keys.id")),
        sa.Column("approved_routes", sa.Text, nullable=False),
        sa.Column("expiry", TIME),
        sa.Column("last_seen", TIME),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("uq_nodes_machine_user", "nodes", ["machine_key", "user_id"], unique=True)
    op.create_index(
        "uq_nodes_machine_tagged",
        "nodes",
        ["machine_key"],
        unique=True,
        sqlite_where=sa.text("user_id IS NULL"),
        postgresql_where=sa.text("user_id IS NULL"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first tables: restore a backup instead")
