"""A rater may act in the agent's place."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("signal", sa.Column("action", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("signal", "action")
