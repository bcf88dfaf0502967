"""The Celery worker: its pool, the supervisor, execution environments, deployments."""
