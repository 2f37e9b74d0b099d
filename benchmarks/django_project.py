"""The settings of a Django project for benchmarks/peers.py: two models, and a database that it names."""

import json
import os

DATABASES = {"default": json.loads(os.environ["DJANGO_DATABASE"])}
INSTALLED_APPS = ["django_models"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SECRET_KEY = "benchmark"
