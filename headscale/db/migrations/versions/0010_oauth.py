"""OAuth clients and their access tokens; what a pre-auth key is for, and when it was revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("pre_auth_keys", sa.Column("description", sa.Text, nullable=False, server_default=""))
    op.add_column("pre_auth_keys", sa.Column("revoked", TIME))
    op.create_table(
        "oauth_clients",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("prefix", sa.String(12), nullable=False, unique=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME),
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("prefix", sa.String(12), nullable=False, unique=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("client_id", ID, sa.ForeignKey("oauth_clients.id"), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("any_tag", sa.Boolean, nullable=False),
        sa.Column("expiration", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("access_tokens")
    op.drop_table("oauth_clients")
    op.drop_column("pre_auth_keys", "revoked")
    op.drop_column("pre_auth_keys", "description")
