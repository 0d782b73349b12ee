"""Which version of the program had the database last, for the one that finds it too new."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    program = op.create_table(
        "program",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.bulk_insert(program, [{"id": 1, "version": ""}])


def downgrade() -> None:
    op.drop_table("program")
