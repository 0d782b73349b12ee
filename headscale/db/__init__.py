"""Where records become durable; the only package that knows SQLAlchemy."""
