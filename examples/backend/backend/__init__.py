"""A small AI product: FastAPI, Celery, and credits for every job."""
